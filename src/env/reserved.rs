//! The names that a tenant can't set (CONTRACT 6).

use super::Glob;

/// Names by which a runtime loads other code, trusts other files or listens elsewhere: those of the
/// contract, and others by which an env was seen to run commands in a worker (`PYTHONWARNINGS` with
/// `BROWSER`) or that do as their listed siblings do. Sorted, for the search.
const NAMES: &[&str] = &[
    "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES",
    "ASPNETCORE_HTTPS_PORTS",
    "ASPNETCORE_HTTP_PORTS",
    "ASPNETCORE_URLS",
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "CLASSPATH",
    "DOTNET_ADDITIONAL_DEPS",
    "DOTNET_DiagnosticPorts",
    "DOTNET_GCName",
    "DOTNET_GCPath",
    "DOTNET_SHARED_STORE",
    "DOTNET_STARTUP_HOOKS",
    "DOTNET_URLS",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "HOME",
    "IFS",
    "INITIALIZATION_RECIPE_URL",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "MONO_CONFIG",
    "MONO_ENV_OPTIONS",
    "MONO_PATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REDIRECT_WARNINGS",
    "NOTIFY_SOCKET",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PS4",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "USER",
    "WORKER_HTTP_URL",
    "_JAVA_OPTIONS",
];

/// Families of such names, by how they begin.
const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "COMPlus_",
    "CORECLR_",
    "COR_",
    "DOTNET_ROOT",
    "DYLD_",
    "ENVGATE_",
    "Kestrel__Endpoints__",
    "LD_",
    "LISTEN_",
];

/// The reserved names: the built-in ones and those that configuration or a backend adds.
#[derive(Debug, Clone)]
pub struct Reserved {
    extra: Vec<Glob>,
}

impl Reserved {
    /// The built-in names and these.
    #[must_use]
    pub fn new(extra: impl IntoIterator<Item = Glob>) -> Self {
        Self {
            extra: extra.into_iter().collect(),
        }
    }

    /// Whether a tenant can't set this variable.
    ///
    /// A name is judged as a process would read it: `PATH=/tmp:` given the value `x` arrives as
    /// `PATH` with the value `/tmp:=x`, so what follows a `=` doesn't hide a reserved name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let read = name.split_once('=').map_or(name, |(read, _)| read);
        NAMES.binary_search(&read).is_ok()
            || PREFIXES.iter().any(|prefix| read.starts_with(prefix))
            || self.extra.iter().any(|glob| glob.matches(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn every_name_of_the_contract_is_reserved_and_others_of_its_kind() {
        let contract = "PATH HOME SHELL USER TMPDIR IFS ENV BASH_ENV \
            LD_* DYLD_* GCONV_PATH GLIBC_TUNABLES NODE_OPTIONS NODE_PATH \
            PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE \
            PERL5LIB PERL5OPT RUBYLIB RUBYOPT \
            JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH \
            DOTNET_STARTUP_HOOKS DOTNET_ADDITIONAL_DEPS DOTNET_SHARED_STORE DOTNET_ROOT* \
            CORECLR_* COR_* COMPlus_* MONO_PATH MONO_CONFIG MONO_ENV_OPTIONS \
            ASPNETCORE_URLS ASPNETCORE_HOSTINGSTARTUPASSEMBLIES \
            LISTEN_* NOTIFY_SOCKET WORKER_HTTP_URL INITIALIZATION_RECIPE_URL \
            SSLKEYLOGFILE ENVGATE_*";
        let others = "ASPNETCORE_HTTP_PORTS ASPNETCORE_HTTPS_PORTS BASHOPTS BROWSER \
            DOTNET_DiagnosticPorts DOTNET_GCName DOTNET_GCPath DOTNET_URLS \
            NODE_EXTRA_CA_CERTS NODE_REDIRECT_WARNINGS OPENSSL_CONF OPENSSL_ENGINES \
            OPENSSL_MODULES PERL5DB PERLLIB PS4 PYTHONBREAKPOINT PYTHONEXECUTABLE \
            PYTHONINSPECT PYTHONPLATLIBDIR PYTHONPYCACHEPREFIX PYTHONWARNINGS SHELLOPTS \
            SSL_CERT_DIR SSL_CERT_FILE BASH_FUNC_* Kestrel__Endpoints__*";
        let reserved = Reserved::new([]);
        let all = || contract.split_whitespace().chain(others.split_whitespace());
        for listed in all() {
            match listed.strip_suffix('*') {
                Some(prefix) => {
                    assert!(reserved.contains(prefix), "{listed}");
                    assert!(reserved.contains(&format!("{prefix}X")), "{listed}");
                    assert!(!reserved.contains(&format!("X{prefix}X")), "{listed}");
                }
                None => {
                    assert!(reserved.contains(listed), "{listed}");
                    assert!(!reserved.contains(&format!("{listed}X")), "{listed}");
                }
            }
        }
        assert_eq!(all().count(), NAMES.len() + PREFIXES.len());
    }

    #[test]
    fn other_names_are_free() {
        let reserved = Reserved::new([]);
        for name in [
            "",
            "path",
            "ENV_TYPE",
            "SESSION_DRIVER",
            "DOTNET_ENVIRONMENT",
        ] {
            assert!(!reserved.contains(name), "{name}");
        }
    }

    #[test]
    fn configured_names_are_reserved_too() {
        let reserved = Reserved::new([Glob::new("AWS_*"), Glob::new("KEY?")]);
        assert!(reserved.contains("AWS_REGION") && reserved.contains("KEY1"));
        assert!(reserved.contains("PATH"));
        assert!(!reserved.contains("KEY") && !reserved.contains("aws_region"));
    }

    #[test]
    fn an_equals_sign_does_not_hide_a_name() {
        let reserved = Reserved::new([Glob::new("MINE")]);
        assert!(reserved.contains("PATH=/tmp:") && reserved.contains("LD_PRELOAD=a=b"));
        assert!(reserved.contains("MINE=x"));
        assert!(!reserved.contains("OURS=PATH") && !reserved.contains("=PATH"));
    }
}
