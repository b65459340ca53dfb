//! See [`runlode_tests::fuzz::filter_text`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz::filter_text(bytes));
