//! GDTS's form bodies: read or refused in words, and a job that was read, shown in that form and posted again as it is
//! shown stays as it was.

#![no_main]

use futures::FutureExt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // The whole body is there, so that nothing is waited for.
    let read = |body: &[u8], previous| {
        manager::read_gdts_form(body, previous).now_or_never().expect("a body in memory is read at once")
    };
    match read(body, None) {
        Err(problem) => assert!(!problem.is_empty()),
        Ok(job) => {
            let over = read(body, Some(&job)).expect("what was read once is read again");
            assert_eq!(over.trigger.expressions(), job.trigger.expressions());
            assert_eq!(over.driver.text(), job.driver.text());
        }
    }
});
