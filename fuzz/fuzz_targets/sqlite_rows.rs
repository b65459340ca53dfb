//! Rows of an MLflow database.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_foreign::sqlite_rows(bytes));
