//! See [`runlode_tests::fuzz_models::scoring_body`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_models::scoring_body(bytes));
