-- What keeps the registry small, and tells how large it is.

create table tasks (
  task       text collate "C" primary key,
  due        timestamptz not null default clock_timestamp(),
  holder     text collate "C",
  held_until timestamptz
);
comment on table tasks is 'Work that one replica does at a time: whoever does it holds a lease, which ends by itself when that replica does.';
comment on column tasks.task is 'Which work.';
comment on column tasks.due is 'When it is to be done next.';
comment on column tasks.holder is 'The replica that is at it; null: none.';
comment on column tasks.held_until is 'When its lease ends unless it is renewed.';
insert into tasks (task) values ('purge'), ('statistics');

create table statistics (
  id      integer primary key check (id = 1),
  as_of   timestamptz not null,
  counted jsonb not null
);
comment on table statistics is 'The last statistics, counted at most once a minute and read by all replicas.';
comment on column statistics.id is 'Always 1.';
comment on column statistics.as_of is 'When they were counted.';
comment on column statistics.counted is 'The counts, as the registry writes them for itself.';
