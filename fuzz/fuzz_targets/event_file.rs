//! An event file of TensorBoard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_foreign::event_file(bytes));
