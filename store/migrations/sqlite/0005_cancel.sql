-- 1: somebody has asked that the operation end by undoing what it did.
alter table operations add column cancel_requested integer not null default 0;
