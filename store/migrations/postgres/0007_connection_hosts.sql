-- The hosts a connection's token is for, separated by blanks; empty: those of its provider.
alter table connections add column hosts text not null default '';
