//! Who sits at the other end of the Unix socket, and whether they may be there.
//!
//! The kernel says which user connected; the system's user database says what else that user is.
//! The mode of the socket file keeps others out before; this is asked all the same, because a mode
//! can be changed by hand and the name is needed for the audit line.
//!
//! In a user namespace (`PrivateUsers=yes`) the kernel has no number to give for most users and
//! says the overflow number instead (`user_namespaces(7)`). The socket's own group and mode were
//! held against the caller's real credentials all the same, so they decide there: see
//! [`PeerPolicy::unmapped`].

use std::ffi::CString;
use std::fs;
use std::ops::RangeInclusive;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::engine::command::Actor;

/// The header in which the command line names its user, for a daemon that cannot see who it is.
pub const OPERATOR_HEADER: &str = "x-rotord-operator";

/// Longest name taken from that header: what Linux allows a login name.
const CLAIM_MAX: usize = 32;

/// The overflow number where `/proc/sys` is hidden (`ProcSubset=pid`): the kernel's own default,
/// which nobody has a reason to change.
const OVERFLOW_DEFAULT: u32 = 65_534;

/// Who may use the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    /// The users that may by themselves.
    pub users: Vec<u32>,
    /// The group whose members may, if there is one.
    pub group: Option<u32>,
    /// The number that stands for every user outside our user namespace; none outside of one.
    pub unmapped: Option<u32>,
}

/// Whoever is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who they are.
    pub identity: Identity,
    /// Whether the policy lets them.
    pub allowed: bool,
}

/// Who somebody is, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user the kernel names.
    User {
        /// The user's number.
        uid: u32,
        /// The user's name, if the number has one.
        name: Option<String>,
    },
    /// Somebody from outside our user namespace, whom the socket's permissions let in.
    Unmapped {
        /// The name they gave themselves: a hint for readers, never a reason to allow anything.
        says: Option<String>,
    },
}

/// Whether the socket file keeps strangers out, as its permissions stand now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only its owner and its group may connect.
    Closed,
    /// Anybody may.
    OpenToAll,
}

/// The group in the settings is not known to the system.
#[derive(Debug, Error)]
#[error("there is no group {0:?} on this system: create it (groupadd --system) or name another")]
pub struct UnknownGroup(pub String);

impl PeerPolicy {
    /// The policy of a daemon: root, its own user, and the members of a group.
    ///
    /// # Errors
    /// [`UnknownGroup`] if the system does not know the name.
    pub fn of_this_process(group: Option<&str>) -> Result<PeerPolicy, UnknownGroup> {
        let group = match group {
            None => None,
            Some(name) => match Group::from_name(name) {
                Ok(Some(found)) => Some(found.gid.as_raw()),
                Ok(None) | Err(_) => return Err(UnknownGroup(name.to_owned())),
            },
        };
        // What cannot be read changes nothing: without a map nobody counts as unmapped.
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let unmapped = unmapped(&map, overflow.as_deref());
        Ok(PeerPolicy { users: vec![0, Uid::effective().as_raw()], group, unmapped })
    }

    /// Looks the user up and judges. Asks the user database: call it where blocking is allowed.
    pub fn identify(&self, uid: u32, gid: u32, mode: Mode) -> Peer {
        if self.unmapped == Some(uid) {
            let identity = Identity::Unmapped { says: None };
            return Peer { identity, allowed: mode == Mode::Closed };
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let member =
            |group| gid == group || user.as_ref().is_some_and(|user| is_member(user, group));
        let allowed = self.users.contains(&uid) || self.group.is_some_and(member);
        Peer { identity: Identity::User { uid, name: user.map(|user| user.name) }, allowed }
    }
}

impl Peer {
    /// The peer's name in audit lines: `uid:1000(alice)`, or `unmapped (says alice)`.
    pub fn actor(&self) -> Actor {
        Actor(match &self.identity {
            Identity::User { uid, name: Some(name) } => format!("uid:{uid}({name})"),
            Identity::User { uid, name: None } => format!("uid:{uid}"),
            Identity::Unmapped { says: Some(name) } => format!("unmapped (says {name})"),
            Identity::Unmapped { says: None } => "unmapped".to_owned(),
        })
    }

    /// The same peer, who says to be `name`. Believed of nobody whom the kernel names, and taken
    /// only if it could be a login name: it is written to the audit log.
    #[must_use]
    pub fn saying(mut self, name: &str) -> Peer {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if let Identity::Unmapped { says } = &mut self.identity
            && (1..=CLAIM_MAX).contains(&name.len())
            && name.chars().all(fits)
        {
            *says = Some(name.to_owned());
        }
        self
    }
}

/// The number that stands for whoever our user namespace does not map. None if that number is
/// mapped, as it is outside of any namespace: then it is a user like any other.
fn unmapped(map: &str, overflow: Option<&str>) -> Option<u32> {
    let overflow = overflow.and_then(|n| n.trim().parse().ok()).unwrap_or(OVERFLOW_DEFAULT);
    let ranges: Option<Vec<_>> = map.lines().map(mapped_range).collect();
    let ranges = ranges.filter(|ranges| !ranges.is_empty())?;
    let is_mapped = ranges.iter().any(|range| range.contains(&overflow));
    (!is_mapped).then_some(overflow)
}

/// A line of `uid_map`: the first number inside, the first outside, how many.
fn mapped_range(line: &str) -> Option<RangeInclusive<u32>> {
    let mut numbers = line.split_whitespace().map(str::parse::<u32>);
    let (first, _, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(first..=first.checked_add(count.checked_sub(1)?)?)
}

fn is_member(user: &User, group: u32) -> bool {
    let Ok(name) = CString::new(user.name.as_str()) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|all| all.contains(&Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that no user has: the highest below the one that means "none".
    const NOBODY_AT_ALL: u32 = u32::MAX - 1;

    fn only_root() -> PeerPolicy {
        PeerPolicy { users: vec![0], ..PeerPolicy::default() }
    }

    #[test]
    fn root_and_the_daemon_itself_are_let_in_and_named() {
        let policy = PeerPolicy::of_this_process(None).unwrap();
        let root = policy.identify(0, 0, Mode::Closed);
        assert!(root.allowed);
        assert_eq!(root.actor(), Actor("uid:0(root)".into()));
        assert!(policy.identify(Uid::effective().as_raw(), NOBODY_AT_ALL, Mode::Closed).allowed);
        let named_by_number = policy.identify(NOBODY_AT_ALL, 0, Mode::Closed);
        assert_eq!(named_by_number.actor(), Actor("uid:4294967294".into()));
    }

    #[test]
    fn strangers_need_the_group() {
        let policy = PeerPolicy { group: Some(4_000_000_002), ..only_root() };
        assert!(policy.identify(NOBODY_AT_ALL, 4_000_000_002, Mode::Closed).allowed);
        assert!(!policy.identify(NOBODY_AT_ALL, 4_000_000_003, Mode::Closed).allowed);
        let nobody_may = only_root();
        assert!(!nobody_may.identify(NOBODY_AT_ALL, 4_000_000_002, Mode::Closed).allowed);
    }

    #[test]
    fn a_users_own_group_in_the_database_counts_whatever_group_they_connected_with() {
        let daemon = User::from_name("daemon").unwrap().expect("every system has it");
        let policy = PeerPolicy { group: Some(daemon.gid.as_raw()), ..PeerPolicy::default() };
        assert!(policy.identify(daemon.uid.as_raw(), NOBODY_AT_ALL, Mode::Closed).allowed);
        let other = PeerPolicy { group: Some(NOBODY_AT_ALL - 1), ..PeerPolicy::default() };
        assert!(!other.identify(daemon.uid.as_raw(), NOBODY_AT_ALL, Mode::Closed).allowed);
    }

    #[test]
    fn a_group_that_does_not_exist_is_an_error_not_an_empty_policy() {
        let error = PeerPolicy::of_this_process(Some("no-such-group-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-group-here"));
        assert_eq!(PeerPolicy::of_this_process(Some("root")).unwrap().group, Some(0));
    }

    /// What systemd writes for a unit with `PrivateUsers=yes` whose user has the number 990.
    const PRIVATE_USERS: &str =
        "         0          0          1\n       990        990          1\n";
    const WHOLE_MACHINE: &str = "         0          0 4294967295\n";

    #[test]
    fn only_a_map_without_the_overflow_number_makes_users_unmapped() {
        let cases = [
            (PRIVATE_USERS, Some("65534\n"), Some(65_534)),
            (PRIVATE_USERS, Some("1000\n"), Some(1000)),
            (PRIVATE_USERS, None, Some(65_534)),
            (WHOLE_MACHINE, Some("65534\n"), None),
            // A container with users of its own, `nobody` among them.
            ("0 100000 65536\n", Some("65534\n"), None),
            ("0 100000 65534\n", Some("65534\n"), Some(65_534)),
            ("0 1000 1\n1 100000 65535\n", Some("65534\n"), None),
            // What is not understood changes nothing.
            ("", Some("65534\n"), None),
            ("0 0\n", Some("65534\n"), None),
            ("0 0 0\n", Some("65534\n"), None),
            ("4294967295 0 2\n", Some("65534\n"), None),
            (PRIVATE_USERS, Some("nonsense"), Some(65_534)),
        ];
        for (map, overflow, expected) in cases {
            assert_eq!(unmapped(map, overflow), expected, "{map:?} {overflow:?}");
        }
    }

    fn in_the_unit() -> PeerPolicy {
        PeerPolicy {
            unmapped: unmapped(PRIVATE_USERS, None),
            group: Some(990),
            users: vec![0, 990],
        }
    }

    #[test]
    fn in_a_namespace_the_permissions_of_the_socket_decide() {
        let policy = in_the_unit();
        let member = policy.identify(65_534, 65_534, Mode::Closed);
        assert_eq!(member, Peer { identity: Identity::Unmapped { says: None }, allowed: true });
        assert_eq!(member.actor(), Actor("unmapped".into()));
        assert!(!policy.identify(65_534, 65_534, Mode::OpenToAll).allowed);
        // Whoever is mapped is judged as ever.
        assert!(policy.identify(0, 0, Mode::OpenToAll).allowed);
        assert!(!policy.identify(NOBODY_AT_ALL, NOBODY_AT_ALL, Mode::Closed).allowed);
    }

    #[test]
    fn outside_a_namespace_the_overflow_number_is_a_user_like_any_other() {
        let policy = PeerPolicy { unmapped: unmapped(WHOLE_MACHINE, None), ..only_root() };
        let nobody = policy.identify(65_534, 65_534, Mode::Closed);
        assert!(!nobody.allowed);
        assert!(matches!(nobody.identity, Identity::User { uid: 65_534, .. }));
    }

    #[test]
    fn a_claimed_name_is_shown_as_claimed_and_only_where_there_is_no_better() {
        let unmapped = in_the_unit().identify(65_534, 65_534, Mode::Closed);
        let actor = |says: &str| unmapped.clone().saying(says).actor().0;
        assert_eq!(actor("alice"), "unmapped (says alice)");
        assert_eq!(actor("svc-deploy.2@corp"), "unmapped (says svc-deploy.2@corp)");
        for no_name in ["", "root) uid:0(", "a b", "a\nb", "ä", &"a".repeat(CLAIM_MAX + 1)] {
            assert_eq!(actor(no_name), "unmapped", "{no_name:?}");
        }
        let root = in_the_unit().identify(0, 0, Mode::Closed).saying("alice");
        assert_eq!(root.actor(), Actor("uid:0(root)".into()));
        let stranger = in_the_unit().identify(65_534, 65_534, Mode::OpenToAll).saying("root");
        assert!(!stranger.allowed);
    }
}
