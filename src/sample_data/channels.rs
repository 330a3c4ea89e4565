//! Channels of courses and learners.

use super::draws::Draws;

/// One is short, one has blanks, one is not ASCII.
const CHANNELS: [&str; 6] =
    ["b00bc992ef25f1a9a8d63291e20efc8d", "in.ekstep", "channel-3", "ORG_001", "tn", "शिक्षा विभाग"];

/// A channel: the first in half of all draws, the second in a quarter, and so on.
pub(super) fn channel(draws: &mut Draws) -> &'static str {
    CHANNELS[(draws.next().leading_zeros() as usize).min(CHANNELS.len() - 1)]
}
