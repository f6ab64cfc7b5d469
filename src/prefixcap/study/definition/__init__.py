"""What a study is: its schema, and how texts, TOML and JSON become one."""
