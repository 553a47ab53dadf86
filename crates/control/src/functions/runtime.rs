//! The runtimes: offered, known to AWS, retired (facts, Lambda API §14 and §16).

use lambfold_api::Fault;

use crate::faults;

const OFFERED: [&str; 10] = [
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
];

/// What AWS takes and Lambfold does not run yet.
const NOT_YET: [&str; 16] = [
    "nodejs16.x",
    "python3.8",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided.al2",
    "provided.al2023",
];

const RETIRED: [&str; 19] = [
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "java8",
    "python2.7",
    "python3.6",
    "python3.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
];

/// Refuses what cannot be run, in AWS's words where AWS would refuse it too.
pub(super) fn check(runtime: &str) -> Result<(), Fault> {
    if OFFERED.contains(&runtime) {
        Ok(())
    } else if NOT_YET.contains(&runtime) {
        Err(faults::not_supported(&format!("the runtime {runtime}")))
    } else if RETIRED.contains(&runtime) || runtime == "provided" {
        Err(faults::invalid_parameter(format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. \
             We recommend you use a supported runtime while creating or updating functions."
        )))
    } else {
        let quoted: String = runtime.chars().take(128).collect();
        Err(faults::invalid_parameter(format!(
            "Value {quoted} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a \
             valid ARN",
            OFFERED.iter().chain(&NOT_YET).copied().collect::<Vec<_>>().join(", ")
        )))
    }
}
