//! Which functions can be given to a process that runs already.

use lambfold_api::control::FunctionVersion;

/// Read by the loader, the C library, the interpreters or OpenSSL when they start, and never again.
const PREFIXES: &[&str] =
    &["LD_", "LC_", "PYTHON", "NODE_", "UV_", "MALLOC_", "OPENSSL_", "GLIBC_", "JEMALLOC"];
const NAMES: &[&str] = &["LANG", "LANGUAGE", "SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_LAMBDA_EXEC_WRAPPER"];
/// Of those prefixes, but read by programs: libraries, or the bootstrap at the assignment.
const LATE: &[&str] = &["NODE_ENV", "NODE_PATH", "NODE_TLS_REJECT_UNAUTHORIZED"];

/// The variable of the function, if there is one, that must be there when its interpreter starts.
pub(super) fn needed_at_start(function: &FunctionVersion) -> Option<&str> {
    function.environment.keys().map(String::as_str).find(|name| {
        !LATE.contains(name)
            && (NAMES.contains(name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_start_is_known() {
        let needed = |name: &str| {
            let environment = [("A".to_owned(), String::new()), (name.to_owned(), String::new())].into();
            let function = FunctionVersion { environment, ..FunctionVersion::default() };
            needed_at_start(&function).map(str::to_owned)
        };
        for name in ["LD_PRELOAD", "PYTHONPATH", "NODE_OPTIONS", "AWS_LAMBDA_EXEC_WRAPPER", "LANG", "LC_ALL"]
        {
            assert_eq!(needed(name).as_deref(), Some(name));
        }
        for name in ["NODE_ENV", "NODE_PATH", "TZ", "PATH", "LANGUAGES", "TABLE"] {
            assert_eq!(needed(name), None);
        }
    }
}
