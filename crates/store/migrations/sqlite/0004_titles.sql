-- What people call a machine, the full name asked for it, and its description, for lists to filter and order by.

ALTER TABLE machine ADD COLUMN title text NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN domain text NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN description text NOT NULL DEFAULT '';
UPDATE machine SET title = name, description = COALESCE(body->>'description', '');
