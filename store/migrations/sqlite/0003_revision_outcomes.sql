-- What became of a revision: empty while its deployment runs.
alter table revisions add column outcome text not null default '';
alter table revisions add column reason text not null default '';
alter table revisions add column copy_of integer not null default 0; -- number of the revision it repeats; 0: none

-- Of the revisions that are there already, their operations tell.
update revisions set outcome = 'DEPLOYED'
  where exists (select 1 from services s where s.active = revisions.id and s.status <> 'OPERATION_IN_PROGRESS');
update revisions set outcome = 'SUPERSEDED'
  where outcome = '' and exists (select 1 from operations o where o.revision = revisions.id and o.status = 'SUCCEEDED');
update revisions set outcome = 'ROLLED_BACK'
  where outcome = '' and exists (select 1 from operations o
    where o.revision = revisions.id and o.status in ('ROLLBACK_SUCCEEDED', 'ROLLBACK_FAILED'));
update revisions set outcome = 'FAILED'
  where outcome = '' and exists (select 1 from operations o where o.revision = revisions.id and o.status = 'FAILED');
