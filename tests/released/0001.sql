BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE commands (
	id INTEGER NOT NULL, 
	message_id VARCHAR(998) NOT NULL, 
	line INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	sender VARCHAR(320) NOT NULL, 
	verb VARCHAR(40) NOT NULL, 
	args JSON NOT NULL, 
	series VARCHAR(998), 
	allowed BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	signature VARCHAR(64), 
	form TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	CONSTRAINT pk_commands PRIMARY KEY (id), 
	CONSTRAINT uq_commands_message_id_line UNIQUE (message_id, line)
);
INSERT INTO "commands" VALUES(2,'c@x',1,'2026-01-05 12:00:00.000000','m@x','test','{"jobs": ["build"]}','a-0@x',1,'maintains','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','','a run is wanted');
CREATE TABLE cursors (
	source VARCHAR(500) NOT NULL, 
	value TEXT NOT NULL, 
	changed DATETIME NOT NULL, 
	CONSTRAINT pk_cursors PRIMARY KEY (source)
);
INSERT INTO "cursors" VALUES('list','7','2026-01-05 12:00:00.000000');
CREATE TABLE deliveries (
	id INTEGER NOT NULL, 
	outbox INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	stage VARCHAR(20) NOT NULL, 
	said TEXT NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (id), 
	CONSTRAINT fk_deliveries_outbox FOREIGN KEY(outbox) REFERENCES outbox (id)
);
INSERT INTO "deliveries" VALUES(9,9,1,'2026-01-05 12:00:00.000000','sent','250 taken');
CREATE TABLE mails (
	id INTEGER NOT NULL, 
	message_id VARCHAR(998) NOT NULL, 
	source VARCHAR(500) NOT NULL, 
	received DATETIME NOT NULL, 
	written DATETIME NOT NULL, 
	sender VARCHAR(320) NOT NULL, 
	name VARCHAR(320) NOT NULL, 
	"full" VARCHAR(320) NOT NULL, 
	subject TEXT NOT NULL, 
	ancestors JSON NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	settled BOOLEAN NOT NULL, 
	heard BOOLEAN NOT NULL, 
	raw BLOB, 
	CONSTRAINT pk_mails PRIMARY KEY (id), 
	CONSTRAINT uq_mails_message_id UNIQUE (message_id)
);
INSERT INTO "mails" VALUES(3,'a-0@x','list','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000','jane@x','jane doe','Jane Doe','[PATCH] Grüße','["r@x"]','patch','a diff',1,0,X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C');
CREATE TABLE members (
	mail INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	CONSTRAINT pk_members PRIMARY KEY (mail, series), 
	CONSTRAINT fk_members_mail FOREIGN KEY(mail) REFERENCES mails (id), 
	CONSTRAINT fk_members_series FOREIGN KEY(series) REFERENCES series (id) ON DELETE CASCADE
);
INSERT INTO "members" VALUES(3,5,1);
CREATE TABLE mutes (
	id INTEGER NOT NULL, 
	series VARCHAR(998) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	reason TEXT NOT NULL, 
	"by" VARCHAR(320) NOT NULL, 
	message_id VARCHAR(998) NOT NULL, 
	at DATETIME NOT NULL, 
	lifted DATETIME, 
	CONSTRAINT pk_mutes PRIMARY KEY (id)
);
INSERT INTO "mutes" VALUES(1,'a-0@x','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','known','m@x','c@x','2026-01-05 12:00:00.000000',NULL);
CREATE TABLE outbox (
	id INTEGER NOT NULL, 
	message_id VARCHAR(998) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	series VARCHAR(998), 
	thread VARCHAR(998) NOT NULL, 
	sender VARCHAR(320) NOT NULL, 
	recipients JSON NOT NULL, 
	subject TEXT NOT NULL, 
	mail BLOB NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	due DATETIME NOT NULL, 
	attempts INTEGER NOT NULL, 
	approved DATETIME, 
	tried DATETIME, 
	claim VARCHAR(64), 
	created DATETIME NOT NULL, 
	changed DATETIME NOT NULL, 
	CONSTRAINT pk_outbox PRIMARY KEY (id), 
	CONSTRAINT uq_outbox_message_id UNIQUE (message_id)
);
INSERT INTO "outbox" VALUES(6,'stackhog-6@x','reply','a-0@x','a-0@x','bot@x','["jane@x"]','Re: Grüße',X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C','waiting','','2026-01-05 12:00:00.000000',0,'2026-01-05 12:00:00.000000',NULL,NULL,'2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
INSERT INTO "outbox" VALUES(7,'stackhog-7@x','reply','a-0@x','a-0@x','bot@x','["jane@x"]','Re: Grüße',X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C','reserved','','2026-01-05 12:00:00.000000',1,'2026-01-05 12:00:00.000000',NULL,'r','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
INSERT INTO "outbox" VALUES(8,'stackhog-8@x','reply','a-0@x','a-0@x','bot@x','["jane@x"]','Re: Grüße',X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C','handed','','2026-01-05 12:00:00.000000',2,'2026-01-05 12:00:00.000000',NULL,'h','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
INSERT INTO "outbox" VALUES(9,'stackhog-9@x','reply','a-0@x','a-0@x','bot@x','["jane@x"]','Re: Grüße',X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C','sent','','2026-01-05 12:00:00.000000',0,'2026-01-05 12:00:00.000000',NULL,'s','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
INSERT INTO "outbox" VALUES(10,'stackhog-10@x','reply','a-0@x','a-0@x','bot@x','["jane@x"]','Re: Grüße',X'789C0B2E4DCA4A4D2EB1524854284A2DC8A9E4E5E2E5722F3ABCE7F0FC545E2E0096B40A1C','held','','2026-01-05 12:00:00.000000',1,'2026-01-05 12:00:00.000000',NULL,NULL,'2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
CREATE TABLE refs (
	mail INTEGER NOT NULL, 
	ancestor VARCHAR(998) NOT NULL, 
	CONSTRAINT pk_refs PRIMARY KEY (mail, ancestor), 
	CONSTRAINT fk_refs_mail FOREIGN KEY(mail) REFERENCES mails (id)
);
INSERT INTO "refs" VALUES(3,'r@x');
CREATE TABLE requests (
	id INTEGER NOT NULL, 
	series VARCHAR(998) NOT NULL, 
	command INTEGER, 
	args JSON NOT NULL, 
	at DATETIME NOT NULL, 
	due DATETIME NOT NULL, 
	tries INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	run VARCHAR(64), 
	CONSTRAINT pk_requests PRIMARY KEY (id), 
	CONSTRAINT fk_requests_command FOREIGN KEY(command) REFERENCES commands (id)
);
INSERT INTO "requests" VALUES(4,'a-0@x',2,'{"jobs": ["build"]}','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000',1,'waiting','',NULL);
CREATE TABLE runs (
	"key" VARCHAR(64) NOT NULL, 
	series VARCHAR(998) NOT NULL, 
	at DATETIME NOT NULL, 
	outcome VARCHAR(20) NOT NULL, 
	report BLOB NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY ("key")
);
INSERT INTO "runs" VALUES('kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk','a-0@x','2026-01-05 12:00:00.000000','passed',X'789CABAE0500017500F9');
CREATE TABLE sent (
	outbox INTEGER NOT NULL, 
	recipient VARCHAR(320) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_sent PRIMARY KEY (outbox, recipient), 
	CONSTRAINT fk_sent_outbox FOREIGN KEY(outbox) REFERENCES outbox (id)
);
INSERT INTO "sent" VALUES(7,'jane@x','2026-01-05 12:00:00.000000');
INSERT INTO "sent" VALUES(9,'jane@x','2026-01-05 12:00:00.000000');
CREATE TABLE series (
	id INTEGER NOT NULL, 
	lead VARCHAR(998) NOT NULL, 
	title TEXT NOT NULL, 
	plain VARCHAR(500) NOT NULL, 
	version INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	missing JSON NOT NULL, 
	problem TEXT, 
	submitter VARCHAR(320) NOT NULL, 
	date DATETIME NOT NULL, 
	change_id VARCHAR(200), 
	supersedes VARCHAR(998), 
	partial BOOLEAN NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	changed DATETIME NOT NULL, 
	due DATETIME NOT NULL, 
	CONSTRAINT pk_series PRIMARY KEY (id), 
	CONSTRAINT uq_series_lead UNIQUE (lead)
);
INSERT INTO "series" VALUES(5,'a-0@x','Grüße','grüße',2,1,'[]',NULL,'jane@x','2026-01-05 12:00:00.000000','c','o-0@x',0,'inside','mm','2026-01-05 12:00:00.000000','2026-01-05 12:00:00.000000');
CREATE TABLE switches (
	name VARCHAR(20) NOT NULL, 
	stopped DATETIME, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_switches PRIMARY KEY (name)
);
INSERT INTO "switches" VALUES('sending',NULL,'');
CREATE INDEX ix_commands_at ON commands (at);
CREATE INDEX ix_commands_sender ON commands (sender);
CREATE INDEX ix_commands_series ON commands (series);
CREATE INDEX ix_commands_signature ON commands (signature);
CREATE INDEX ix_mails_heard ON mails (heard);
CREATE INDEX ix_mails_kind ON mails (kind);
CREATE INDEX ix_mails_name ON mails (name);
CREATE INDEX ix_mails_received ON mails (received);
CREATE INDEX ix_mails_sender ON mails (sender);
CREATE INDEX ix_mails_settled ON mails (settled);
CREATE INDEX ix_mails_written ON mails (written);
CREATE INDEX ix_mutes_fingerprint ON mutes (fingerprint);
CREATE INDEX ix_mutes_series ON mutes (series);
CREATE INDEX ix_outbox_changed ON outbox (changed);
CREATE INDEX ix_outbox_series ON outbox (series);
CREATE INDEX ix_outbox_state_due ON outbox (state, due);
CREATE INDEX ix_outbox_thread ON outbox (thread);
CREATE INDEX ix_runs_series ON runs (series);
CREATE INDEX ix_series_change_id ON series (change_id);
CREATE INDEX ix_series_changed ON series (changed);
CREATE INDEX ix_series_date ON series (date);
CREATE INDEX ix_series_due ON series (due);
CREATE INDEX ix_series_plain ON series (plain);
CREATE INDEX ix_series_state ON series (state);
CREATE INDEX ix_series_submitter ON series (submitter);
CREATE INDEX ix_series_supersedes ON series (supersedes);
CREATE INDEX ix_deliveries_outbox ON deliveries (outbox);
CREATE INDEX ix_members_series ON members (series);
CREATE INDEX ix_refs_ancestor ON refs (ancestor);
CREATE INDEX ix_requests_at ON requests (at);
CREATE INDEX ix_requests_due ON requests (due);
CREATE INDEX ix_requests_run ON requests (run);
CREATE INDEX ix_requests_series ON requests (series);
CREATE INDEX ix_requests_state ON requests (state);
CREATE INDEX ix_sent_at ON sent (at);
CREATE INDEX ix_sent_recipient ON sent (recipient);
COMMIT;
