//! Asking the person in front whether a tool may run. The question travels with the news of the answer, the
//! reply comes back on a channel of its own.

use futures::future::BoxFuture;
use mistralrs_core::ToolCall;
use mistralrs_core::agent::{Approval, Approver, ToolSpec, Verdict};
use tokio::sync::{mpsc, oneshot};

/// Where questions are put.
pub type Asker = mpsc::UnboundedSender<Consent>;

/// A call that waits for a reply. Dropping it refuses the call.
#[derive(Debug)]
pub struct Consent {
    /// What is to run.
    pub tool: ToolSpec,
    /// With what.
    pub call: ToolCall,
    reply: oneshot::Sender<Verdict>,
}

/// What a person says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This once.
    Yes,
    /// This tool, as long as the chat lasts.
    Always,
    /// No.
    No,
}

impl Reply {
    /// Understands `y`, `yes`, `a`, `always`; everything else is a no.
    pub fn of(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Self::Yes,
            "a" | "always" => Self::Always,
            _ => Self::No,
        }
    }
}

impl Consent {
    /// A question and the place of its answer.
    pub fn new(tool: &ToolSpec, call: &ToolCall) -> (Self, oneshot::Receiver<Verdict>) {
        let (reply, answer) = oneshot::channel();
        (Self { tool: tool.clone(), call: call.clone(), reply }, answer)
    }

    /// Lets the call run, or refuses it.
    pub fn answer(self, reply: Reply) {
        let verdict = match reply {
            Reply::Yes | Reply::Always => Verdict::Allow,
            Reply::No => Verdict::Deny("the user did not allow this call".to_owned()),
        };
        // Whoever asked may have been stopped meanwhile.
        let _ = self.reply.send(verdict);
    }

    /// The question for the person.
    pub fn question(&self) -> String {
        let arguments: String = self.call.arguments.chars().take(500).collect();
        format!(
            "Run {} of {} with {arguments} ? y = yes, a = always, n = no",
            self.tool.name, self.tool.origin
        )
    }
}

/// The person in front.
pub struct Person(pub Asker);

impl Approver for Person {
    fn approve<'a>(&'a self, tool: &'a ToolSpec, call: &'a ToolCall) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if tool.approval == Approval::Never {
                return Verdict::Allow;
            }
            let (consent, answer) = Consent::new(tool, call);
            // If nobody listens, or leaves without a word, the reply is lost with the question.
            let _ = self.0.send(consent);
            answer.await.unwrap_or_else(|_| Verdict::Deny("nobody allowed this call".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(approval: Approval) -> ToolSpec {
        ToolSpec {
            name: "write".into(),
            description: None,
            parameters: serde_json::json!({}),
            origin: "files".into(),
            approval,
        }
    }

    async fn verdict(approval: Approval, reply: Option<Reply>) -> Verdict {
        let (asker, mut questions) = mpsc::unbounded_channel();
        let call = ToolCall { id: "1".into(), name: "write".into(), arguments: "{}".into() };
        let (tool, person) = (spec(approval), Person(asker));
        let replies = async {
            let consent: Consent = questions.recv().await.unwrap();
            assert_eq!(
                consent.question(),
                "Run write of files with {} ? y = yes, a = always, n = no"
            );
            if let Some(reply) = reply {
                consent.answer(reply);
            }
        };
        tokio::select! {
            biased;
            verdict = person.approve(&tool, &call) => verdict,
            () = async { replies.await; std::future::pending().await } => unreachable!(),
        }
    }

    #[tokio::test]
    async fn the_person_decides_unless_the_configuration_has() {
        assert_eq!(verdict(Approval::Never, None).await, Verdict::Allow);
        assert_eq!(verdict(Approval::Always, Some(Reply::Yes)).await, Verdict::Allow);
        assert_eq!(verdict(Approval::Unsaid, Some(Reply::Always)).await, Verdict::Allow);
        for reply in [Some(Reply::No), None] {
            assert!(matches!(verdict(Approval::Unsaid, reply).await, Verdict::Deny(_)));
        }
    }

    #[test]
    fn replies() {
        assert_eq!((Reply::of(" Y "), Reply::of("always")), (Reply::Yes, Reply::Always));
        assert_eq!((Reply::of(""), Reply::of("nope")), (Reply::No, Reply::No));
    }
}
