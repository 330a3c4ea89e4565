//! One row of the queue, understood: which report, which batches, which file format, where to.
