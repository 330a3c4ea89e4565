#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| exhaustd_fuzz::link(data));
