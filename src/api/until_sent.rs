//! What must live until an answer has been sent, such as a permit: an extension of the answer that the connection drops with
//! its body.

use std::any::Any;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct UntilSent {
    _held: Arc<dyn Any + Send + Sync>,
}

impl UntilSent {
    pub(super) fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Arc::new(held) }
    }
}
