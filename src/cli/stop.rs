//! Ctrl-C and SIGTERM, which end a run at its next step.

use crate::output::errln;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Becomes true at the first Ctrl-C or SIGTERM; the second one ends the process at once.
///
/// SIGHUP keeps its meaning, so that `nohup` works.
pub(super) fn stop_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop);
    stop
}

/// The same for a flag that is there.
pub(super) fn stop_on_signals(stop: &Arc<AtomicBool>) {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown looks at the flag before the same signal sets it.
        let registered = flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()));
        if let Err(e) = registered {
            errln!("moue: warning: signal {signal} will end the process at once: {e}");
        }
    }
}
