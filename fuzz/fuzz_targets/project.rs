//! See [`runlode_tests::fuzz::project`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz::project(bytes));
