//! The allocator of the GNU C library, told to keep what it got.
//!
//! Decoding a page of Parquet needs a megabyte for a moment. By default such a piece is mapped for each page and given back
//! to the kernel after it, and the next one is cleared anew, page of memory by page: a quarter of a small request's time
//! (`docs/performance.md`). Other allocators do without, at the price of more memory or of a C build of their own.

/// Largest piece in bytes that comes from the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FROM_THE_HEAP: libc::c_int = 32 << 20;

/// Bytes that are free at the end of the heap and stay with the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 64 << 20;

/// Sets it up, once, before there are other threads. What the environment says (`MALLOC_MMAP_THRESHOLD_`) is overruled.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "a call of the C library with two numbers, which reads and writes nothing of ours")]
pub fn keep_memory() {
    // SAFETY: mallopt takes numbers only and may be called at any time; a setting it does not take, it refuses.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_THE_HEAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Other systems have other allocators.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn keep_memory() {}
