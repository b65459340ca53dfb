//! A file of MLflow's file store.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_foreign::file_store(bytes));
