//! The conversation as a value: what was said, how answers are sampled, and what the next request is.
//! Pure but for `/save` and `/load`; knows neither terminal nor engine.

use super::attach;
use mistralrs_core::{
    ChatRequest, CompletionRequest, Content, GenerateOptions, Message, Part, Prompt, Role,
    SamplingParams,
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Bigger conversation files are refused before they are read.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A request of either kind.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A conversation to be continued through the chat template.
    Chat(Box<ChatRequest>),
    /// Plain text to be continued, for models without a template.
    Complete(Box<CompletionRequest>),
}

/// What was said so far and how to go on.
#[derive(Debug, Clone)]
pub struct Session {
    messages: Vec<Message>,
    start_system: Option<String>,
    has_template: bool,
    /// How answers are sampled; `None` fields are the model's.
    pub sampling: SamplingParams,
    max_tokens: Option<usize>,
    template_kwargs: Map<String, Value>,
    attempt: u64,
}

/// Sampling when neither the user nor the model says anything: careful and nearly repeatable.
pub fn fallback_sampling() -> SamplingParams {
    SamplingParams {
        temperature: Some(0.1),
        top_k: Some(32),
        top_p: Some(0.1),
        min_p: Some(0.05),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.1),
        ..SamplingParams::default()
    }
}

/// What a chat starts with: the user's fields first; below them the model's own defaults if it
/// brought any, else [`fallback_sampling`].
pub fn start_sampling(asked: &SamplingParams, model: &SamplingParams) -> SamplingParams {
    let base =
        if *model == SamplingParams::default() { fallback_sampling() } else { model.clone() };
    SamplingParams {
        temperature: asked.temperature.or(base.temperature),
        top_k: asked.top_k.or(base.top_k),
        top_p: asked.top_p.or(base.top_p),
        min_p: asked.min_p.or(base.min_p),
        typical_p: asked.typical_p.or(base.typical_p),
        top_n_sigma: asked.top_n_sigma.or(base.top_n_sigma),
        xtc: asked.xtc.or(base.xtc),
        mirostat: asked.mirostat.or(base.mirostat),
        repetition_penalty: asked.repetition_penalty.or(base.repetition_penalty),
        frequency_penalty: asked.frequency_penalty.or(base.frequency_penalty),
        presence_penalty: asked.presence_penalty.or(base.presence_penalty),
        penalty_last_n: asked.penalty_last_n.or(base.penalty_last_n),
        dry: asked.dry.clone().or(base.dry),
        logit_bias: if asked.logit_bias.is_empty() {
            base.logit_bias
        } else {
            asked.logit_bias.clone()
        },
        seed: asked.seed.or(base.seed),
    }
}

impl Session {
    /// An empty conversation.
    pub fn new(has_template: bool, system: Option<String>, sampling: SamplingParams) -> Self {
        let mut session = Self {
            messages: Vec::new(),
            start_system: system,
            has_template,
            sampling,
            max_tokens: None,
            template_kwargs: Map::new(),
            attempt: 0,
        };
        session.clear();
        session
    }

    /// The same with a limit per answer and variables for the template.
    #[must_use]
    pub fn with_limits(
        mut self,
        max_tokens: Option<usize>,
        template_kwargs: Map<String, Value>,
    ) -> Self {
        self.max_tokens = max_tokens;
        self.template_kwargs = template_kwargs;
        self
    }

    /// Adds what the user says, pictures and sounds before the text, and makes the request for the answer.
    pub fn say(&mut self, text: &str, attached: Vec<Part>) -> Ask {
        self.attempt = 0;
        let mut message = Message::text(Role::User, text);
        if !attached.is_empty() {
            let text = Part::Text(text.to_owned());
            message.content = Content::Parts(attached.into_iter().chain([text]).collect());
        }
        self.messages.push(message);
        self.ask()
    }

    /// Adds the model's answer (also a broken-off one).
    pub fn answered(&mut self, text: &str) {
        self.messages.push(Message::text(Role::Assistant, text));
    }

    /// Takes back an unanswered question and returns it.
    pub fn take_back(&mut self) -> Option<String> {
        match self.messages.last() {
            Some(message) if message.role == Role::User => {
                self.messages.pop().map(|message| text_of(&message.content))
            }
            _ => None,
        }
    }

    /// Forgets the last question and everything after it; returns the question.
    pub fn undo(&mut self) -> Option<String> {
        let last = self.messages.iter().rposition(|message| message.role == Role::User)?;
        let text = self.messages.get(last).map(|message| text_of(&message.content));
        self.messages.truncate(last);
        text
    }

    /// Forgets the last answer and asks again, with another seed if one was fixed.
    pub fn retry(&mut self) -> Option<Ask> {
        let last = self.messages.iter().rposition(|message| message.role == Role::User)?;
        self.messages.truncate(last + 1);
        self.attempt += 1;
        Some(self.ask())
    }

    /// Back to the start: only the system text the chat began with is left.
    pub fn clear(&mut self) {
        self.attempt = 0;
        self.messages.clear();
        if let Some(text) = self.start_system.clone() {
            self.set_system(text);
        }
    }

    /// The system text in force.
    pub fn system(&self) -> Option<String> {
        self.messages.first().filter(|it| it.role == Role::System).map(|it| text_of(&it.content))
    }

    /// Puts a system text first, in place of an earlier one. Most templates allow it nowhere else.
    pub fn set_system(&mut self, text: String) {
        let message = Message::text(Role::System, text);
        match self.messages.first_mut() {
            Some(first) if first.role == Role::System => *first = message,
            _ => self.messages.insert(0, message),
        }
    }

    /// What was said, in order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Writes the conversation as a JSON list of OpenAI messages.
    ///
    /// # Errors
    /// A sentence with the file and what the system said.
    pub fn save(&self, file: &Path) -> Result<(), String> {
        let list: Vec<Value> = self.messages.iter().map(to_json).collect();
        let mut text = serde_json::to_string_pretty(&list).map_err(|error| error.to_string())?;
        text.push('\n');
        std::fs::write(file, text)
            .map_err(|error| format!("Cannot write {}: {error}.", file.display()))
    }

    /// Replaces the conversation by one from a file; on an error nothing changes.
    ///
    /// # Errors
    /// A sentence with the file, the message's number and what is wrong with it.
    pub fn load(&mut self, file: &Path) -> Result<(), String> {
        let failed = |what: String| format!("Cannot load {}: {what}.", file.display());
        let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        if !size.is_file() || size.len() > MAX_FILE_BYTES {
            return Err(failed(format!("it is no file of at most {MAX_FILE_BYTES} bytes")));
        }
        let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        self.messages = messages_of(&value).map_err(failed)?;
        self.attempt = 0;
        Ok(())
    }

    fn ask(&self) -> Ask {
        let mut sampling = self.sampling.clone();
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(self.attempt));
        let options =
            GenerateOptions { max_tokens: self.max_tokens, sampling, ..GenerateOptions::default() };
        if self.has_template {
            return Ask::Chat(Box::new(ChatRequest {
                messages: self.messages.clone(),
                template_kwargs: self.template_kwargs.clone(),
                options,
                ..ChatRequest::default()
            }));
        }
        let prompt = Prompt::Text(self.document());
        Ask::Complete(Box::new(CompletionRequest { prompt, options }))
    }

    /// Everything said as one text: an answer continues its question, a question begins a new line.
    fn document(&self) -> String {
        let mut document = String::new();
        for message in &self.messages {
            let starts_line = message.role != Role::Assistant;
            if starts_line && !document.is_empty() && !document.ends_with('\n') {
                document.push('\n');
            }
            document.push_str(&text_of(&message.content));
        }
        document
    }
}

fn text_of(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().filter_map(Part::as_text).collect(),
        Content::None => String::new(),
    }
}

fn to_json(message: &Message) -> Value {
    let mut object = Map::new();
    object.insert("role".to_owned(), json!(message.role.as_str()));
    let content = match &message.content {
        Content::None => Value::Null,
        // Of pictures and sounds only a mark is kept.
        Content::Parts(parts) => parts.iter().map(attach::mark).collect::<String>().into(),
        Content::Text(text) => text.as_str().into(),
    };
    object.insert("content".to_owned(), content);
    object.extend(message.extra.clone());
    Value::Object(object)
}

fn messages_of(value: &Value) -> Result<Vec<Message>, String> {
    let list = value
        .as_array()
        .or_else(|| value.get("messages").and_then(Value::as_array))
        .ok_or("it should be a JSON list of messages")?;
    list.iter()
        .enumerate()
        .map(|(i, value)| message_of(value).map_err(|what| format!("message {}: {what}", i + 1)))
        .collect()
}

fn message_of(value: &Value) -> Result<Message, &'static str> {
    const ROLES: [Role; 5] =
        [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool];
    let mut object = value.as_object().cloned().ok_or("it should be an object")?;
    let role = object.shift_remove("role");
    let role = ROLES
        .into_iter()
        .find(|it| role.as_ref().and_then(Value::as_str) == Some(it.as_str()))
        .ok_or("`role` should be system, developer, user, assistant or tool")?;
    let content = match object.shift_remove("content") {
        Some(Value::String(text)) => Content::Text(text),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| {
                part.get("text").and_then(Value::as_str).map(|it| Part::Text(it.to_owned()))
            })
            .collect::<Option<_>>()
            .map(Content::Parts)
            .ok_or("every part of `content` should be text")?,
        Some(Value::Null) | None if role == Role::Assistant => Content::None,
        _ => return Err("`content` should be a string"),
    };
    Ok(Message { role, content, extra: object })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn new(has_template: bool) -> Session {
        Session::new(has_template, None, SamplingParams::default())
    }

    fn check(session: &Session, expected: Expect) {
        let lines: Vec<String> = session
            .messages()
            .iter()
            .map(|message| format!("{}: {}", message.role.as_str(), text_of(&message.content)))
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn turns(session: &Session) -> usize {
        session.messages().iter().filter(|message| message.role == Role::User).count()
    }

    fn prompt_of(ask: Ask) -> String {
        let Ask::Complete(request) = ask else { panic!("{ask:?}") };
        match request.prompt {
            Prompt::Text(text) => text,
            Prompt::Tokens(tokens) => panic!("{tokens:?}"),
        }
    }

    #[test]
    fn turns_undo_retry() {
        let mut session = new(true);
        assert!(
            session.undo().is_none() && session.retry().is_none() && session.take_back().is_none()
        );
        session.say("one", Vec::new());
        session.answered("1");
        session.say("two", Vec::new());
        session.answered("2");
        assert_eq!(turns(&session), 2);
        let Some(Ask::Chat(request)) = session.retry() else { panic!() };
        assert_eq!(request.messages.len(), 3);
        check(
            &session,
            expect![[r#"
            user: one
            assistant: 1
            user: two"#]],
        );
        assert_eq!(session.take_back().as_deref(), Some("two"));
        assert!(session.take_back().is_none(), "an answered question stays");
        assert_eq!(session.undo().as_deref(), Some("one"));
        check(&session, expect![[""]]);
    }

    #[test]
    fn system_goes_first_and_clear_returns_to_the_start() {
        let mut session = Session::new(true, Some("start".into()), SamplingParams::default());
        session.say("hi", Vec::new());
        session.set_system("be brief".into());
        check(
            &session,
            expect![[r#"
            system: be brief
            user: hi"#]],
        );
        session.clear();
        check(&session, expect!["system: start"]);
        let mut bare = new(true);
        bare.say("hi", Vec::new());
        bare.set_system("late".into());
        check(
            &bare,
            expect![[r#"
            system: late
            user: hi"#]],
        );
        bare.clear();
        assert_eq!(bare.system(), None);
    }

    #[test]
    fn without_a_template_the_text_goes_on() {
        let mut session = new(false);
        assert_eq!(prompt_of(session.say("Once", Vec::new())), "Once");
        session.answered(" upon a time.");
        assert_eq!(prompt_of(session.say("Then", Vec::new())), "Once upon a time.\nThen");
        session.set_system("A story.".into());
        assert_eq!(prompt_of(session.retry().unwrap()), "A story.\nOnce upon a time.\nThen");
    }

    #[test]
    fn retry_moves_a_fixed_seed() {
        let mut session = new(true);
        session.sampling.seed = Some(7);
        let seed = |ask: Ask| match ask {
            Ask::Chat(request) => request.options.sampling.seed,
            Ask::Complete(_) => None,
        };
        assert_eq!(seed(session.say("x", Vec::new())), Some(7));
        session.answered("y");
        assert_eq!(seed(session.retry().unwrap()), Some(8));
        session.answered("y");
        assert_eq!(seed(session.say("z", Vec::new())), Some(7));
    }

    #[test]
    fn the_models_defaults_win_over_the_fallback_and_the_user_over_both() {
        let nothing = SamplingParams::default();
        let asked = SamplingParams { top_k: Some(5), ..SamplingParams::default() };
        let model = SamplingParams { temperature: Some(0.7), ..SamplingParams::default() };
        assert_eq!(start_sampling(&nothing, &nothing), fallback_sampling());
        assert_eq!(start_sampling(&nothing, &model), model);
        let both = start_sampling(&asked, &model);
        assert_eq!((both.temperature, both.top_k, both.min_p), (Some(0.7), Some(5), None));
        assert_eq!(start_sampling(&asked, &nothing).min_p, Some(0.05));
    }

    #[test]
    fn save_and_load() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talk.json");
        let mut session = Session::new(true, Some("sys".into()), SamplingParams::default());
        session.say("hé \"x\"", Vec::new());
        session.answered("line\nline");
        session.save(&file).unwrap();
        let mut other = new(true);
        other.load(&file).unwrap();
        assert_eq!(session.messages(), other.messages());
        assert!(session.save(folder.path()).unwrap_err().starts_with("Cannot write"));
    }

    #[test]
    fn bad_files_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talk.json");
        let mut session = new(true);
        session.say("kept", Vec::new());
        let mut refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let message = session.load(&file).unwrap_err();
            assert_eq!(turns(&session), 1);
            message.replace(&file.display().to_string(), "FILE")
        };
        expect!["Cannot load FILE: it should be a JSON list of messages."]
            .assert_eq(&refused("{}"));
        expect!["Cannot load FILE: message 1: it should be an object."].assert_eq(&refused("[1]"));
        expect!["Cannot load FILE: message 1: `role` should be system, developer, user, assistant or tool."]
            .assert_eq(&refused(r#"[{"role":"root","content":""}]"#));
        expect!["Cannot load FILE: message 2: `content` should be a string."]
            .assert_eq(&refused(r#"[{"role":"user","content":""},{"role":"user"}]"#));
        assert!(refused("[").contains("EOF"));
        assert!(session.load(folder.path()).is_err());
        std::fs::write(
            &file,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#,
        )
        .unwrap();
        session.load(&file).unwrap();
        check(&session, expect!["user: a"]);
    }
}
