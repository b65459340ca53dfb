//! A log of W&B.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runlode_tests::fuzz_foreign::wandb_log(bytes));
