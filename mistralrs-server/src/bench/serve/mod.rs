//! A server under load: as many streams as asked for at once, several rounds, over HTTP as any client. The server is
//! ours, in this process, or one that runs already. Knows no engine.

mod client;
pub mod figures;

use super::plan::Load;
use super::progress;
use crate::app::{AppState, ServerConfig};
use crate::model::LoadedModel;
use crate::serve;
use anyhow::Context;
use client::{Prompts, Target};
use figures::ServedRow;
use futures::future::join_all;
use mistralrs_core::Llm;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests are over when the server is told to stop; connections get this long to notice.
const DRAIN: Duration = Duration::from_secs(5);

/// Loads the server that this program is, on a free port of the loopback interface.
///
/// # Errors
/// When no port can be opened, or no request is answered.
pub fn in_process(llm: Llm, load: &Load) -> anyhow::Result<Vec<ServedRow>> {
    let runtime = crate::runtime()?;
    let rows = runtime.block_on(async {
        let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Arc::new(AppState::new(ServerConfig::default(), None));
        let name = llm.info().id.clone();
        app.model.set_ready(LoadedModel::new(llm, name, None));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve::run_loaded(app, listener, DRAIN, async {
            // Either way it is time to stop.
            let _ = stopped.await;
        }));
        let rows = match Target::find(&url).await {
            Ok(target) => measure(&target, load).await,
            Err(error) => Err(error),
        };
        drop(stop);
        serving.await?;
        rows
    });
    runtime.shutdown_background();
    rows
}

/// Loads a server that runs already; also gives the name of its model.
///
/// # Errors
/// When it cannot be reached, or answers no request.
pub fn running(url: &str, load: &Load) -> anyhow::Result<(String, Vec<ServedRow>)> {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        let target = Target::find(url).await?;
        let rows = measure(&target, load).await?;
        Ok((target.model, rows))
    })
}

async fn measure(target: &Target, load: &Load) -> anyhow::Result<Vec<ServedRow>> {
    progress("prompts of the right length …");
    let mut prompts = Prompts::new();
    let words = target.words_for(load.prompt_tokens, &mut prompts).await?;
    let mut rows = Vec::new();
    for &streams in &load.streams {
        let mut rounds = Vec::new();
        for round in 1..=load.rounds {
            progress(&format!("{streams} streams, round {round} of {} …", load.rounds));
            let asked = (0..streams).map(|_| target.ask(prompts.next(words), load.answer_tokens));
            let asked: Vec<_> = asked.collect();
            rounds.push(join_all(asked).await);
        }
        let row = ServedRow::new(streams, &rounds);
        if row.failed == row.requests {
            let reason = row.error.unwrap_or_default();
            return Err(anyhow::anyhow!(reason))
                .with_context(|| format!("none of {} requests was answered", row.requests));
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
