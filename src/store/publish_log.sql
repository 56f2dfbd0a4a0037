-- Logs which rows are written, from the first publication of the store on.
CREATE TRIGGER IF NOT EXISTS _log_new_email AFTER INSERT ON _emails BEGIN
    INSERT INTO _publish_log (email_key) VALUES (new.key);
END;
CREATE TRIGGER IF NOT EXISTS _log_email AFTER UPDATE ON _emails BEGIN
    INSERT INTO _publish_log (email_key) VALUES (new.key);
END;
-- What a lookup said of the customer's freshness would be lost with the email that resolved to it.
CREATE TRIGGER IF NOT EXISTS _log_email_of_another AFTER UPDATE OF customer_key ON _emails
WHEN old.customer_key IS NOT NULL AND old.customer_key IS NOT new.customer_key BEGIN
    INSERT INTO _publish_log (customer_key) VALUES (old.customer_key);
END;
CREATE TRIGGER IF NOT EXISTS _log_no_email AFTER DELETE ON _emails BEGIN
    INSERT INTO _publish_log (email_key, customer_key) VALUES (old.key, old.customer_key);
END;
CREATE TRIGGER IF NOT EXISTS _log_new_customer AFTER INSERT ON _customers BEGIN
    INSERT INTO _publish_log (customer_key) VALUES (new.key);
END;
CREATE TRIGGER IF NOT EXISTS _log_customer AFTER UPDATE OF
    id, organization_id, email, name, phone, address, metadata, created_at, extra, first_seen_at,
    changed_at, missing_since, erased_at
ON _customers BEGIN
    INSERT INTO _publish_log (customer_key) VALUES (new.key);
END;
CREATE TRIGGER IF NOT EXISTS _log_new_run AFTER INSERT ON _runs BEGIN
    INSERT INTO _publish_log (run_id) VALUES (new.id);
END;
CREATE TRIGGER IF NOT EXISTS _log_run AFTER UPDATE ON _runs BEGIN
    INSERT INTO _publish_log (run_id) VALUES (new.id);
END;
CREATE TRIGGER IF NOT EXISTS _log_new_failure AFTER INSERT ON _run_failures BEGIN
    INSERT INTO _publish_log (run_id) VALUES (new.run_id);
END;
CREATE TRIGGER IF NOT EXISTS _log_failure AFTER UPDATE ON _run_failures BEGIN
    INSERT INTO _publish_log (run_id) VALUES (new.run_id);
END;
CREATE TRIGGER IF NOT EXISTS _log_no_failure AFTER DELETE ON _run_failures BEGIN
    INSERT INTO _publish_log (run_id) VALUES (old.run_id);
END;
CREATE TRIGGER IF NOT EXISTS _log_new_reject AFTER INSERT ON _rejects BEGIN
    INSERT INTO _publish_log (run_id, reject_row) VALUES (new.run_id, new.row);
END;
CREATE TRIGGER IF NOT EXISTS _log_no_reject AFTER DELETE ON _rejects BEGIN
    INSERT INTO _publish_log (run_id, reject_row) VALUES (old.run_id, old.row);
END;
