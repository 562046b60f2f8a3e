#![no_main]

libfuzzer_sys::fuzz_target!(init: moue_fuzz::one_thread(), |bytes: &[u8]| moue_datasets::fuzzing::image(bytes));
