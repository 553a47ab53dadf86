//! Landlock: the second fence, which needs no privilege and holds even where the first has a hole.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::step::Step;
use crate::protocol::Failure;

/// The newest interface whose rights are asked for; an older kernel gives what it has.
const INTERFACE: ABI = ABI::V6;

const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Whether this kernel enforces Landlock.
pub(super) fn available() -> bool {
    // Making a ruleset restricts nobody yet.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Whether it keeps signals and abstract sockets within, too: since Linux 6.12.
pub(super) fn scopes() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(Ruleset::create)
        .is_ok()
}

/// From here on this process and its children read and execute only below `read`, write only below `write` and to the
/// plain devices, and reach no process or abstract socket outside. Paths that do not exist are skipped.
pub(super) fn enclose(read: &[PathBuf], write: &Path) -> Result<bool, Failure> {
    let status = restrict(read, write).step("restrict by Landlock")?;
    Ok(status != RulesetStatus::NotEnforced)
}

fn restrict(read: &[PathBuf], write: &Path) -> Result<RulesetStatus, RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(INTERFACE))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(INTERFACE)))?
        .add_rules(path_beneath_rules([write], AccessFs::from_all(INTERFACE)))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::from_file(INTERFACE)))?
        .restrict_self()?;
    Ok(status.ruleset)
}
