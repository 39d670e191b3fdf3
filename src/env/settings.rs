//! stub

#[allow(missing_docs)]
pub struct Concurrency;
#[allow(missing_docs)]
pub struct SettingError;
#[allow(missing_docs)]
pub struct WorkerSettings;
