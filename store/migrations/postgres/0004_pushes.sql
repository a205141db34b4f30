-- Pushes to the sources of services with automatic deployments.
alter table services add column pushed text not null default '';           -- newest version known: a digest or a commit
alter table services add column push_pending integer not null default 0;   -- 1: to be deployed after the operation in progress
alter table services add column followed_image text collate "C"
  generated always as (case when config #>> '{source,auto_deployments}' = 'true'
    then config #>> '{source,image,identifier}' end) stored;
create index services_push_pending on services (id) where push_pending = 1;
create index services_followed on services (followed_image, id) where deleted_at = 0 and followed_image is not null;
