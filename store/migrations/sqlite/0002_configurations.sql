-- What the configuration of a service or revision refers to: full ARNs, null where there is none.
-- They are taken from the document, so that the two cannot differ.
alter table services add column observability text
  generated always as (json_extract(config, '$.observability.configuration')) virtual;
alter table services add column vpc_connector text
  generated always as (json_extract(config, '$.network.vpc_connector')) virtual;
alter table services add column connection text
  generated always as (json_extract(config, '$.source.connection_arn')) virtual;
create index services_observability on services (observability) where deleted_at = 0 and observability is not null;
create index services_vpc_connector on services (vpc_connector) where deleted_at = 0 and vpc_connector is not null;
create index services_connection on services (connection) where deleted_at = 0 and connection is not null;

-- While an operation runs, a service may go back to what its active revision refers to.
alter table revisions add column auto_scaling text
  generated always as (json_extract(config, '$.auto_scaling')) virtual;
alter table revisions add column observability text
  generated always as (json_extract(config, '$.observability.configuration')) virtual;
alter table revisions add column vpc_connector text
  generated always as (json_extract(config, '$.network.vpc_connector')) virtual;
alter table revisions add column connection text
  generated always as (json_extract(config, '$.source.connection_arn')) virtual;
create index services_busy on services (account, region, active) where status = 'OPERATION_IN_PROGRESS';

-- ListServicesForAutoScalingConfiguration: oldest first.
drop index services_scaling;
create index services_scaling on services (auto_scaling, created_at, id) where deleted_at = 0;

create table observability_configurations (
  account    text not null,
  region     text not null,
  name       text not null,
  revision   integer not null,
  id         text not null,
  vendor     text not null, -- empty: no tracing
  latest     integer not null,
  created_at integer not null,
  deleted_at integer not null default 0,
  primary key (account, region, name, revision, id)
) strict, without rowid;
create unique index observability_active on observability_configurations (account, region, name, revision) where deleted_at = 0;
create unique index observability_latest on observability_configurations (account, region, name) where latest = 1;

create table connections (
  id         text primary key,
  account    text not null,
  region     text not null,
  name       text not null,
  provider   text not null,
  status     text not null,
  created_at integer not null,
  deleted_at integer not null default 0,
  check ((status = 'DELETED') = (deleted_at <> 0))
) strict, without rowid;
create unique index connections_name on connections (account, region, name) where deleted_at = 0;
create index connections_list on connections (account, region, created_at, id) where deleted_at = 0;

create table vpc_connectors (
  id              text primary key,
  account         text not null,
  region          text not null,
  name            text not null,
  subnets         text not null, -- JSON array of ids
  security_groups text not null, -- JSON array of ids
  created_at      integer not null,
  deleted_at      integer not null default 0
) strict, without rowid;
create unique index vpc_connectors_name on vpc_connectors (account, region, name) where deleted_at = 0;
create index vpc_connectors_list on vpc_connectors (account, region, created_at, id) where deleted_at = 0;

create table vpc_ingress_connections (
  id           text primary key,
  account      text not null,
  region       text not null,
  name         text not null,
  service      text not null, -- its row may be gone before this one
  service_name text not null,
  vpc          text not null,
  endpoint     text not null,
  host         text not null default '',
  status       text not null,
  created_at   integer not null,
  updated_at   integer not null,
  deleted_at   integer not null default 0,
  due_at       integer not null default 0, -- when its status is to be moved on; 0: it rests
  check ((status = 'DELETED') = (deleted_at <> 0))
) strict, without rowid;
create unique index vpc_ingress_name on vpc_ingress_connections (account, region, name) where deleted_at = 0;
create unique index vpc_ingress_host on vpc_ingress_connections (host) where host <> '';
create index vpc_ingress_service on vpc_ingress_connections (service) where deleted_at = 0;
create index vpc_ingress_list on vpc_ingress_connections (account, region, created_at, id) where deleted_at = 0;
create index vpc_ingress_due on vpc_ingress_connections (due_at) where due_at <> 0;

create table custom_domains (
  name       text primary key, -- in lower case; unique over all accounts and regions
  service    text not null references services (id) on delete cascade,
  domain     text not null,    -- as it was sent
  www        integer not null,
  status     text not null,
  records    text not null,    -- JSON array
  created_at integer not null,
  updated_at integer not null,
  due_at     integer not null default 0 -- when its status is to be moved on; 0: it rests
) strict, without rowid;
create index custom_domains_service on custom_domains (service, created_at, name);
create index custom_domains_due on custom_domains (due_at) where due_at <> 0;
