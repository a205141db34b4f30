-- Times are microseconds since 1970 UTC; 0 means never. Flags are 0 or 1.

create table services (
  id          text primary key,
  account     text not null,
  region      text not null,
  name        text not null,
  name_held   integer not null default 1, -- 0: deleted or being deleted, the name is free
  host        text not null,
  status      text not null,
  config      text not null,
  auto_scaling text not null, -- full ARN, as in config
  active      text not null default '',
  candidate   text not null default '',
  created_at  integer not null,
  updated_at  integer not null,
  deleted_at  integer not null default 0,
  check ((status = 'DELETED') = (deleted_at <> 0)),
  check (name_held = 0 or deleted_at = 0)
) strict, without rowid;
create unique index services_name on services (account, region, name) where name_held = 1;
create unique index services_host on services (host);
create index services_list on services (account, region, created_at, id) where deleted_at = 0;
create index services_live on services (created_at, id) where deleted_at = 0;
create index services_scaling on services (auto_scaling) where deleted_at = 0;
create index services_deleted on services (deleted_at) where deleted_at <> 0;

create table revisions (
  id              text primary key,
  service         text not null references services (id) on delete cascade,
  number          integer not null,
  config          text not null,
  image_reference text not null default '',
  image_digest    text not null default '',
  created_at      integer not null,
  unique (service, number)
) strict, without rowid;

-- An operation that has not ended is work to be done: this table is the queue.
create table operations (
  id          text primary key,
  service     text not null references services (id) on delete cascade,
  number      integer not null, -- counts up within the service
  type        text not null,
  status      text not null,
  revision    text not null default '',
  step        text not null default '',
  attempt     integer not null default 0,
  reason      text not null default '',
  undoing     integer not null default 0, -- 1: it has failed and is undoing what it did
  started_at  integer not null,
  updated_at  integer not null,
  ended_at    integer not null default 0,
  deadline    integer not null,
  runner      text not null default '',   -- who holds the lease; empty: nobody
  fence       integer not null default 0, -- grows with every lease
  runnable_at integer not null,           -- end of the lease, or of the back-off before the next try
  unique (service, number),
  check ((status in ('FAILED', 'SUCCEEDED', 'ROLLBACK_FAILED', 'ROLLBACK_SUCCEEDED')) = (ended_at <> 0))
) strict, without rowid;
create unique index operations_open on operations (service) where ended_at = 0;
create index operations_queue on operations (runnable_at, id) where ended_at = 0;

create table tags (
  arn      text not null,
  key      text not null,
  value    text not null,
  position integer not null, -- order in which the keys were first added
  primary key (arn, key)
) strict, without rowid;

create table auto_scaling_configurations (
  account         text not null,
  region          text not null,
  name            text not null,
  revision        integer not null,
  id              text not null,
  max_concurrency integer not null,
  min_size        integer not null,
  max_size        integer not null,
  latest          integer not null,
  is_default      integer not null,
  created_at      integer not null,
  deleted_at      integer not null default 0,
  primary key (account, region, name, revision, id)
) strict, without rowid;
create unique index auto_scaling_active on auto_scaling_configurations (account, region, name, revision) where deleted_at = 0;
create unique index auto_scaling_latest on auto_scaling_configurations (account, region, name) where latest = 1;
create unique index auto_scaling_default on auto_scaling_configurations (account, region) where is_default = 1;

create table access_keys (
  id           text primary key,
  secret       text not null,
  account      text not null,
  principal    text not null,
  disabled     integer not null default 0,
  created_at   integer not null,
  last_used_at integer not null default 0
) strict, without rowid;
create index access_keys_account on access_keys (account, created_at, id);
