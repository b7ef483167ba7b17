//! The database: members, roles, Services, credentials. Stub.
