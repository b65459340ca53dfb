//! See [`runlode_tests::fuzz_models::signature`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_models::signature(bytes));
