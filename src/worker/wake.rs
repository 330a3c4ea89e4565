//! Wakes the daemon when a request is submitted, so that the schedule is the longest wait and not the usual one. A listener
//! that is lost, or whose connection is silent, is replaced; until then the schedule starts the scans.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::requests::WorkQueue;

/// How long a listener waits for a notification before it says that there is none.
const LISTEN: Duration = Duration::from_secs(1);
/// A listener that has said nothing for this long is stuck on a dead connection.
const SILENT: Duration = Duration::from_mins(1);
/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(5);

/// Sends when rows may have become claimable; one message that waits is enough. Ends when the receiver is dropped.
pub(super) fn listen(queue: Arc<dyn WorkQueue>) -> Receiver<()> {
    let (wake, woken) = mpsc::channel(1);
    tokio::spawn(async move {
        while !wake.is_closed() {
            let mut heard = hear(Arc::clone(&queue));
            loop {
                match tokio::time::timeout(SILENT, heard.recv()).await {
                    // Full: a message waits already.
                    Ok(Some(Heard::News)) => drop(wake.try_send(())),
                    Ok(Some(Heard::Nothing)) => {}
                    Ok(Some(Heard::Never)) => {
                        log::info!(
                            "submissions cannot be heard through a pooler of transactions, jobs are scanned by their \
                             schedules; [database] direct_url changes that"
                        );
                        return;
                    }
                    Ok(None) => break,
                    Err(_) => {
                        log::warn!("listening for submissions has gone silent, listening anew");
                        break;
                    }
                }
                if wake.is_closed() {
                    return;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    });
    woken
}

/// What a listener says.
enum Heard {
    /// Rows may have become claimable.
    News,
    /// It still listens.
    Nothing,
    /// This database sends no notifications, now or later.
    Never,
}

/// Listens on a thread of its own, which ends when the receiver is dropped. It blocks all the time, and a thread of the
/// runtime's pool would keep the program from ending.
fn hear(queue: Arc<dyn WorkQueue>) -> Receiver<Heard> {
    let (sender, heard) = mpsc::channel(1);
    let listening = std::thread::Builder::new().name("listen".to_owned()).spawn(move || {
        if let Err(error) = listen_on(queue.as_ref(), &sender) {
            log::warn!("cannot listen for submissions, the schedule has to do error={error}");
        }
    });
    if let Err(error) = listening {
        log::warn!("cannot listen for submissions, the schedule has to do error={error}");
    }
    heard
}

fn listen_on(queue: &dyn WorkQueue, sender: &Sender<Heard>) -> Result<(), crate::requests::QueueError> {
    let listener = queue.listen()?;
    // Rows may have been submitted before.
    let mut news = Heard::News;
    let Some(mut listener) = listener else {
        let _ = sender.blocking_send(news).and_then(|()| sender.blocking_send(Heard::Never));
        return Ok(());
    };
    while sender.blocking_send(news).is_ok() {
        news = if listener.wait(LISTEN)? { Heard::News } else { Heard::Nothing };
    }
    Ok(())
}
