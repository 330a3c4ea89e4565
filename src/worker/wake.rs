//! Wakes the daemon when somebody submits, so that the schedule is the longest wait and not the usual one. A listener
//! that is lost, or that sits on a connection which went silent, is replaced; until then the schedule has to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::requests::WorkQueue;

/// How long a listener waits for news before it says that there are none.
const BREATH: Duration = Duration::from_secs(1);
/// A listener that says nothing for so long hears nothing either: its connection hangs.
const SILENT: Duration = Duration::from_mins(1);
/// Between two tries to listen.
const REST: Duration = Duration::from_secs(5);

/// Rings when rows may have become claimable. A ring that nobody has heard yet is not added to. Ends when the receiver is
/// dropped.
pub(super) fn listen(queue: Arc<dyn WorkQueue>) -> Receiver<()> {
    let (ring, rung) = mpsc::channel(1);
    tokio::spawn(async move {
        while !ring.is_closed() {
            let mut heard = hear(Arc::clone(&queue));
            loop {
                match tokio::time::timeout(SILENT, heard.recv()).await {
                    // Full: the last ring is still unheard.
                    Ok(Some(Heard::News)) => drop(ring.try_send(())),
                    Ok(Some(Heard::Nothing)) => {}
                    Ok(Some(Heard::NeverWill)) => {
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
                if ring.is_closed() {
                    return;
                }
            }
            tokio::time::sleep(REST).await;
        }
    });
    rung
}

/// What a listener has to tell.
enum Heard {
    /// Rows may have become claimable.
    News,
    /// It still listens.
    Nothing,
    /// Nothing can be heard of this database, now or later.
    NeverWill,
}

/// Listens on a thread of its own, which ends when nobody wants to know any more: it blocks for as long as it lives,
/// and a pool's thread would keep the program from ending.
fn hear(queue: Arc<dyn WorkQueue>) -> Receiver<Heard> {
    let (tell, heard) = mpsc::channel(1);
    let listening = std::thread::Builder::new().name("listen".to_owned()).spawn(move || {
        if let Err(error) = tell_all(queue.as_ref(), &tell) {
            log::warn!("cannot listen for submissions, the schedule has to do error={error}");
        }
    });
    if let Err(error) = listening {
        log::warn!("cannot listen for submissions, the schedule has to do error={error}");
    }
    heard
}

fn tell_all(queue: &dyn WorkQueue, tell: &Sender<Heard>) -> Result<(), crate::requests::QueueError> {
    let listener = queue.listen()?;
    // What came while nobody listened.
    let mut news = Heard::News;
    let Some(mut listener) = listener else {
        let _ = tell.blocking_send(news).and_then(|()| tell.blocking_send(Heard::NeverWill));
        return Ok(());
    };
    while tell.blocking_send(news).is_ok() {
        news = if listener.wait(BREATH)? { Heard::News } else { Heard::Nothing };
    }
    Ok(())
}
