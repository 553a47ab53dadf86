//! Settings of a function: what is taken, in which range, and what is refused because nothing would act on it.

use lambfold_api::Fault;
use lambfold_api::lambda::{
    ArchitecturesList, CapacityProviderConfig, DeadLetterConfig, DurableConfig, EphemeralStorage,
    FileSystemConfigList, LoggingConfig, SnapStart, TracingConfig, VpcConfig,
};

use crate::faults;
use crate::record::{Configuration, Logging};

/// The settings that Create and Update share and that Lambfold does not act on yet. Empty ones and AWS's defaults
/// pass, so that tools which always send them work.
#[derive(Default)]
pub(super) struct Unsupported {
    pub(super) vpc: Option<VpcConfig>,
    pub(super) dead_letter: Option<DeadLetterConfig>,
    pub(super) file_systems: Option<FileSystemConfigList>,
    pub(super) kms_key: Option<String>,
    pub(super) tracing: Option<TracingConfig>,
    pub(super) capacity_provider: Option<CapacityProviderConfig>,
    pub(super) durable: Option<DurableConfig>,
}

impl Unsupported {
    /// Names the first setting that would have to act.
    pub(super) fn refuse(&self) -> Result<(), Fault> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let what = if self.vpc.as_ref().is_some_and(|vpc| {
            vpc.subnet_ids.as_ref().is_some_and(|ids| !ids.is_empty())
                || vpc.security_group_ids.as_ref().is_some_and(|ids| !ids.is_empty())
        }) {
            "VpcConfig"
        } else if self.dead_letter.as_ref().is_some_and(|config| given(&config.target_arn)) {
            "DeadLetterConfig"
        } else if self.file_systems.as_ref().is_some_and(|systems| !systems.is_empty()) {
            "FileSystemConfigs"
        } else if given(&self.kms_key) {
            "KMSKeyArn"
        } else if self
            .tracing
            .as_ref()
            .is_some_and(|it| it.mode.as_deref().is_some_and(|mode| mode != "PassThrough"))
        {
            "TracingConfig Active"
        } else if self.capacity_provider.is_some() {
            "CapacityProviderConfig"
        } else if self.durable.is_some() {
            "DurableConfig"
        } else {
            return Ok(());
        };
        Err(faults::not_supported(what))
    }
}

/// `SnapStart`, as far as it is asked for.
pub(super) fn snap_start(given: Option<&SnapStart>) -> Option<bool> {
    given?.apply_on.as_deref().map(|on| on == "PublishedVersions")
}

/// Whether what SnapStart asks for can be done: the hooks of Java and Python are run. (.NET, for which AWS has it too, is not
/// here.)
pub(super) fn check_snap_start(configuration: &Configuration) -> Result<(), Fault> {
    if !configuration.snap_start {
        return Ok(());
    }
    let runtime = configuration.runtime.as_str();
    let is_from = |language: &str, first: u32| {
        let version = runtime.strip_prefix(language).and_then(|version| version.parse::<u32>().ok());
        version.is_some_and(|version| version >= first)
    };
    if !is_from("python3.", 12) && !is_from("java", 11) {
        return Err(faults::invalid_parameter(format!(
            "{runtime} is not supported for SnapStart enabled functions."
        )));
    }
    if configuration.ephemeral_storage > 512 {
        return Err(faults::invalid_parameter(
            "Ephemeral storage of more than 512 MB is not supported for SnapStart enabled functions.",
        ));
    }
    Ok(())
}

/// `Timeout`: 1 to 900 s, 3 unless given.
pub(super) fn timeout(given: Option<i32>) -> Result<Option<u32>, Fault> {
    ranged(given, "timeout", 1, 900)
}

/// `MemorySize`: 128 to 10240 MB.
pub(super) fn memory_size(given: Option<i32>) -> Result<Option<u32>, Fault> {
    ranged(given, "memorySize", 128, 10_240)
}

/// `EphemeralStorage`: 512 to 10240 MB.
pub(super) fn ephemeral_storage(given: Option<&EphemeralStorage>) -> Result<Option<u32>, Fault> {
    ranged(given.and_then(|storage| storage.size), "ephemeralStorage.size", 512, 10_240)
}

fn ranged(given: Option<i32>, path: &str, min: u32, max: u32) -> Result<Option<u32>, Fault> {
    let Some(value) = given else { return Ok(None) };
    match u32::try_from(value) {
        Ok(inside) if (min..=max).contains(&inside) => Ok(Some(inside)),
        outside => {
            let rule = if outside.is_ok_and(|value| value > max) {
                format!("less than or equal to {max}")
            } else {
                format!("greater than or equal to {min}")
            };
            let text = format!(
                "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: Member must have \
                 value {rule}"
            );
            Err(Fault::new(lambfold_api::lambda::ErrorCode::ValidationException, text))
        }
    }
}

/// `Architectures`: the machine's own.
pub(super) fn architecture(given: Option<&ArchitecturesList>, own: &str) -> Result<String, Fault> {
    match given.and_then(|list| list.first()) {
        None => Ok(own.to_owned()),
        Some(wanted) if wanted == own => Ok(own.to_owned()),
        Some(wanted) => Err(faults::invalid_parameter(format!(
            "Functions for {wanted} cannot run here: this machine is {own}. Build the package for {own} and say so in \
             Architectures."
        ))),
    }
}

/// `LoggingConfig`: levels go with JSON only, where they default to INFO.
pub(super) fn logging(given: Option<&LoggingConfig>, current: &Logging) -> Result<Logging, Fault> {
    let Some(given) = given else { return Ok(current.clone()) };
    let format = given.log_format.clone().unwrap_or_else(|| current.format.clone());
    let json = format == "JSON";
    if !json && (given.application_log_level.is_some() || given.system_log_level.is_some()) {
        return Err(faults::invalid_parameter(
            "ApplicationLogLevel and SystemLogLevel can only be set with the log format JSON.",
        ));
    }
    let level = |given: &Option<String>, current: &Option<String>| {
        json.then(|| given.clone().or_else(|| current.clone()).unwrap_or_else(|| "INFO".to_owned()))
    };
    Ok(Logging {
        application_level: level(&given.application_log_level, &current.application_level),
        system_level: level(&given.system_log_level, &current.system_level),
        group: given.log_group.clone().filter(|group| !group.is_empty()).or_else(|| current.group.clone()),
        format,
    })
}
