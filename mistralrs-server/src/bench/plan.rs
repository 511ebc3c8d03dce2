//! From the arguments to the list of measurements, and what they need of the model. Pure.

use super::BenchArgs;
use mistralrs_core::LoadOptions;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Computing a prompt.
    Prompt,
    /// Generating.
    Generate,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is measured.
    pub kind: Kind,
    /// Tokens of the prompt or the answer, per request.
    pub tokens: usize,
    /// Tokens already in the context.
    pub depth: usize,
    /// Requests at the same time.
    pub concurrency: usize,
}

impl Case {
    /// `pp512`, `tg128 @ d1024 ×4`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Prompt => "pp",
            Kind::Generate => "tg",
        };
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        let many =
            if self.concurrency > 1 { format!(" ×{}", self.concurrency) } else { String::new() };
        format!("{kind}{}{depth}{many}", self.tokens)
    }

    /// Tokens a request takes in the end.
    fn context_tokens(&self) -> usize {
        match self.kind {
            // It ends with a token drawn.
            Kind::Prompt => self.depth.saturating_add(self.tokens).saturating_add(1),
            // It begins with a prompt of some sort.
            Kind::Generate => self.depth.max(1).saturating_add(self.tokens),
        }
    }
}

/// How a server is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Streams at the same time, one level after the other.
    pub streams: Vec<usize>,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens of each answer.
    pub answer_tokens: usize,
    /// Requests that each stream makes, one level's all together.
    pub rounds: usize,
}

/// More streams than this are no measurement of a model.
const MOST_STREAMS: usize = 512;
/// Nor are longer prompts or answers.
const MOST_TOKENS: usize = 1 << 20;

impl Load {
    /// `None` if no server is to be loaded.
    ///
    /// # Errors
    /// A sentence about the argument that makes no sense.
    pub fn new(args: &BenchArgs) -> Result<Option<Self>, String> {
        let [prompt_tokens, answer_tokens] = args.serve_tokens[..] else {
            return Err(
                "--serve-tokens takes two numbers: of the prompt and of the answer".to_owned()
            );
        };
        if args.serve.iter().any(|streams| !(1..=MOST_STREAMS).contains(streams)) {
            return Err(format!("--serve has to be 1 to {MOST_STREAMS} streams"));
        }
        if prompt_tokens == 0 || answer_tokens < 2 {
            return Err("--serve-tokens: a prompt has a token at least, an answer two".to_owned());
        }
        if prompt_tokens.max(answer_tokens) > MOST_TOKENS {
            return Err(format!("--serve-tokens: {MOST_TOKENS} tokens at most"));
        }
        if args.repetitions == 0 {
            return Err("--repetitions must be at least 1".to_owned());
        }
        let streams = args.serve.clone();
        let load = Self { streams, prompt_tokens, answer_tokens, rounds: args.repetitions };
        Ok(Some(load).filter(|load| !load.streams.is_empty()))
    }

    fn context_tokens(&self) -> usize {
        self.prompt_tokens.saturating_add(self.answer_tokens)
    }
}

/// All measurements, in the order of the table.
#[derive(Debug)]
pub struct Plan {
    /// The measurements of the engine.
    pub cases: Vec<Case>,
    /// And of a server with it.
    pub load: Option<Load>,
}

impl Plan {
    /// Every combination once, for a model with this context; `None` = not known yet.
    ///
    /// # Errors
    /// A sentence about the argument that makes no sense.
    pub fn new(args: &BenchArgs, context_tokens: Option<usize>) -> Result<Self, String> {
        if args.repetitions == 0 {
            return Err("--repetitions must be at least 1".to_owned());
        }
        if args.concurrency.contains(&0) {
            return Err("--concurrency must be at least 1".to_owned());
        }
        if args.generate_tokens.contains(&1) {
            return Err("--n-gen must be 0 or at least 2: a speed needs two tokens".to_owned());
        }
        let most = context_tokens.map_or(usize::MAX, |tokens| tokens / 2);
        let or = |asked: &[usize], usual: usize| match asked {
            [] => vec![usual.min(most)],
            asked => asked.to_vec(),
        };
        let (prompts, answers) = (or(&args.prompt_tokens, 512), or(&args.generate_tokens, 128));
        let mut cases: Vec<Case> = Vec::new();
        for &concurrency in &args.concurrency {
            for &depth in &args.depths {
                let tests = prompts
                    .iter()
                    .map(|tokens| (Kind::Prompt, *tokens))
                    .chain(answers.iter().map(|tokens| (Kind::Generate, *tokens)));
                for (kind, tokens) in tests.filter(|(_, tokens)| *tokens > 0) {
                    let case = Case { kind, tokens, depth, concurrency };
                    if !cases.contains(&case) {
                        cases.push(case);
                    }
                }
            }
        }
        let load = Load::new(args)?;
        if cases.is_empty() && load.is_none() {
            return Err("nothing to measure: --n-prompt and --n-gen are both 0".to_owned());
        }
        let plan = Self { cases, load };
        context_tokens.map_or(Ok(()), |tokens| plan.check_context(tokens))?;
        Ok(plan)
    }

    /// Makes room for the requests. Prefixes are cached when depths need them, or as servers do.
    pub fn raise_limits(&self, options: &mut LoadOptions) {
        let (block, mut needs) = (options.block_size, Vec::new());
        needs.extend(self.cases.iter().map(|case| (case.concurrency, case.context_tokens())));
        if let Some(load) = &self.load {
            needs.extend(load.streams.iter().map(|streams| (*streams, load.context_tokens())));
        }
        let requests = needs.iter().map(|(requests, _)| *requests).max().unwrap_or(1);
        options.max_seqs = options.max_seqs.max(requests);
        options.max_queue = options.max_queue.max(requests);
        options.prefix_cache = self.load.is_some() || self.cases.iter().any(|case| case.depth > 0);
        let room = |(requests, tokens): &(usize, usize)| {
            tokens.saturating_add(2 * block).saturating_mul(*requests)
        };
        let tokens = needs.iter().map(room).max();
        options.kv_cache_tokens = options.kv_cache_tokens.max(options.kv_cache_tokens.and(tokens));
    }

    /// Whether the model's context holds every case; else a sentence with the case and the numbers.
    fn check_context(&self, context_tokens: usize) -> Result<(), String> {
        if let Some(load) = self.load.as_ref().filter(|it| it.context_tokens() > context_tokens) {
            return Err(format!(
                "--serve-tokens take {} tokens of context, the model has {context_tokens}",
                load.context_tokens()
            ));
        }
        match self.cases.iter().find(|case| case.context_tokens() > context_tokens) {
            None => Ok(()),
            Some(case) => Err(format!(
                "{} takes {} tokens of context, the model has {context_tokens}; choose smaller -p, -g or -d",
                case.name(),
                case.context_tokens(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use expect_test::{Expect, expect};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(line: &str, context_tokens: Option<usize>) -> Result<Plan, String> {
        let line = std::iter::once("bench").chain(line.split_whitespace());
        Plan::new(&Line::parse_from(line).args, context_tokens)
    }

    fn check(line: &str, expected: Expect) {
        let names = plan(line, None)
            .map(|plan| plan.cases.iter().map(Case::name).collect::<Vec<_>>().join(", "));
        expected.assert_eq(&names.unwrap_or_else(|reason| format!("refused: {reason}")));
    }

    #[test]
    fn combinations() {
        check("", expect!["pp512, tg128"]);
        check("-p 16,32 -g 0 -d 0,64", expect!["pp16, pp32, pp16 @ d64, pp32 @ d64"]);
        check("-p 0 -g 8 -c 1,4,4", expect!["tg8, tg8 ×4"]);
        check(
            "-p 0 -g 0",
            expect!["refused: nothing to measure: --n-prompt and --n-gen are both 0"],
        );
        check("-p 0 -g 0 --serve 4", expect![""]);
        check("-r 0", expect!["refused: --repetitions must be at least 1"]);
        check("-c 0", expect!["refused: --concurrency must be at least 1"]);
        check(
            "-g 1",
            expect!["refused: --n-gen must be 0 or at least 2: a speed needs two tokens"],
        );
    }

    #[test]
    fn servers() {
        let load = |line| plan(line, Some(512)).map(|plan| plan.load);
        assert_eq!(load("").unwrap(), None);
        let two = load("--serve 1,8 --serve-tokens 100,20 -r 2").unwrap().unwrap();
        assert_eq!((two.streams, two.rounds), (vec![1, 8], 2));
        for (line, reason) in [
            ("--serve 0", "1 to 512 streams"),
            ("--serve 1 --serve-tokens 5", "two numbers"),
            ("--serve 1 --serve-tokens 0,5", "a prompt has a token"),
            ("--serve 1 --serve-tokens 5,1", "an answer two"),
            ("--serve 1 --serve-tokens 9999999999,2", "1048576 tokens at most"),
            ("--serve 1 --serve-tokens 500,13", "take 513 tokens of context, the model has 512"),
        ] {
            let refusal = load(line).unwrap_err();
            assert!(refusal.contains(reason), "{line}: {refusal}");
        }
        let mut options = LoadOptions::new("m");
        plan("-p 8 -g 0 --serve 40", None).unwrap().raise_limits(&mut options);
        assert_eq!((options.max_seqs, options.prefix_cache), (40, true));
    }

    #[test]
    fn what_the_model_must_hold() {
        let line = "-p 512 -g 128 -d 0,1024 -c 1,40";
        assert!(plan(line, Some(1537)).is_ok());
        let refusal = plan(line, Some(1536)).unwrap_err();
        assert!(refusal.contains("pp512 @ d1024 takes 1537"), "{refusal}");
        let small = plan("", Some(100)).unwrap();
        assert_eq!(small.cases.iter().map(Case::name).collect::<Vec<_>>(), ["pp50", "tg50"]);
        let plan = plan(line, None).unwrap();
        let mut options = LoadOptions::new("m");
        plan.raise_limits(&mut options);
        assert_eq!((options.max_seqs, options.max_queue, options.prefix_cache), (40, 256, true));
        assert_eq!(options.kv_cache_tokens, None, "the model's own rule stays");
        options.kv_cache_tokens = Some(100);
        plan.raise_limits(&mut options);
        assert_eq!(options.kv_cache_tokens, Some(40 * (1537 + 64)));
        options.kv_cache_tokens = Some(1 << 20);
        plan.raise_limits(&mut options);
        assert_eq!(options.kv_cache_tokens, Some(1 << 20));
    }

    #[test]
    fn without_depth_nothing_is_cached() {
        let mut options = LoadOptions::new("m");
        plan("-d 0", None).unwrap().raise_limits(&mut options);
        assert!(!options.prefix_cache);
    }
}
