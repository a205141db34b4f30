-- What a revision's image was built from, and how it runs: a JSON document, empty for other images.
alter table revisions add column build text not null default '';

-- The credential of a connection, encrypted by the server; empty: none, for public repositories.
alter table connections add column credential text not null default '';

-- The repository of a service that is deployed automatically.
alter table services add column followed_repository text collate "C"
  generated always as (case when config #>> '{source,auto_deployments}' = 'true'
    then config #>> '{source,code,url}' end) stored;
create index services_followed_repository on services (followed_repository, id) where deleted_at = 0 and followed_repository is not null;
