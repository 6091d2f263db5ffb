//! The environment that drivers read, set before the first thread exists.

#![allow(unsafe_code, reason = "setting a variable is unsafe once there are threads; here there are none")]

/// Keeps Mesa's layer that reorders devices from complaining on standard error where there is no desktop.
///
/// The layer asks a window system which device is its own; Plywood chooses by itself.
pub fn prepare() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: `main` calls this first, before any thread is made.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
