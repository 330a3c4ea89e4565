//! Files of the source that expand beyond any bound.
