//! Who sits at the other end of the Unix socket, and whether they may be there.
//!
//! The kernel says which user connected; the system's user database says what else that user is.
//! The mode of the socket file keeps others out before; this is asked all the same, because a mode
//! can be changed by hand and the name is needed for the audit line.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::engine::command::Actor;

/// Who may use the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPolicy {
    /// The users that may by themselves.
    pub users: Vec<u32>,
    /// The group whose members may, if there is one.
    pub group: Option<u32>,
}

/// Whoever is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user's number.
    pub uid: u32,
    /// The user's name, if the number has one.
    pub name: Option<String>,
    /// Whether the policy lets them.
    pub allowed: bool,
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
        Ok(PeerPolicy { users: vec![0, Uid::effective().as_raw()], group })
    }

    /// Looks the user up and judges. Asks the user database: call it where blocking is allowed.
    pub fn identify(&self, uid: u32, gid: u32) -> Peer {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let member =
            |group| gid == group || user.as_ref().is_some_and(|user| is_member(user, group));
        let allowed = self.users.contains(&uid) || self.group.is_some_and(member);
        Peer { uid, name: user.map(|u| u.name), allowed }
    }
}

impl Peer {
    /// The peer's name in audit lines: `uid:1000(alice)`.
    pub fn actor(&self) -> Actor {
        match &self.name {
            Some(name) => Actor(format!("uid:{}({name})", self.uid)),
            None => Actor(format!("uid:{}", self.uid)),
        }
    }
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

    #[test]
    fn root_and_the_daemon_itself_are_let_in_and_named() {
        let policy = PeerPolicy::of_this_process(None).unwrap();
        let root = policy.identify(0, 0);
        assert!(root.allowed);
        assert_eq!(root.actor(), Actor("uid:0(root)".into()));
        assert!(policy.identify(Uid::effective().as_raw(), NOBODY_AT_ALL).allowed);
        let named_by_number = policy.identify(NOBODY_AT_ALL, 0);
        assert_eq!(named_by_number.actor(), Actor("uid:4294967294".into()));
    }

    #[test]
    fn strangers_need_the_group() {
        let policy = PeerPolicy { users: vec![0], group: Some(4_000_000_002) };
        assert!(policy.identify(NOBODY_AT_ALL, 4_000_000_002).allowed);
        assert!(!policy.identify(NOBODY_AT_ALL, 4_000_000_003).allowed);
        let nobody_may = PeerPolicy { users: vec![0], group: None };
        assert!(!nobody_may.identify(NOBODY_AT_ALL, 4_000_000_002).allowed);
    }

    #[test]
    fn a_users_own_group_in_the_database_counts_whatever_group_they_connected_with() {
        let daemon = User::from_name("daemon").unwrap().expect("every system has it");
        let policy = PeerPolicy { users: vec![], group: Some(daemon.gid.as_raw()) };
        assert!(policy.identify(daemon.uid.as_raw(), NOBODY_AT_ALL).allowed);
        let other = PeerPolicy { users: vec![], group: Some(NOBODY_AT_ALL - 1) };
        assert!(!other.identify(daemon.uid.as_raw(), NOBODY_AT_ALL).allowed);
    }

    #[test]
    fn a_group_that_does_not_exist_is_an_error_not_an_empty_policy() {
        let error = PeerPolicy::of_this_process(Some("no-such-group-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-group-here"));
        assert_eq!(PeerPolicy::of_this_process(Some("root")).unwrap().group, Some(0));
    }
}
