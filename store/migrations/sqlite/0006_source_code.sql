-- What a revision's image was built from, and how it runs: a JSON document, empty for other images.
alter table revisions add column build text not null default '';

-- The credential of a connection, encrypted by the server; empty: none, for public repositories.
alter table connections add column credential text not null default '';
