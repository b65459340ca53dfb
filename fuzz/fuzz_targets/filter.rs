//! See [`runlode_tests::fuzz::filter`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz::filter(bytes));
