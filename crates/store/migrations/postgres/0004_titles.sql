-- What people call a machine, the full name asked for it, and its description, for lists to filter and order by.

ALTER TABLE machine ADD COLUMN title text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN domain text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN description text COLLATE "C" NOT NULL DEFAULT '';
UPDATE machine SET title = name, description = COALESCE(body::json->>'description', '');
