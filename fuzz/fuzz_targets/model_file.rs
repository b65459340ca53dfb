//! See [`runlode_tests::fuzz_models::model_file`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_models::model_file(bytes));
