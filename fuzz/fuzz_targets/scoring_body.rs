//! See [`runlode_tests::scoring::scoring_body`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::scoring::scoring_body(bytes));
