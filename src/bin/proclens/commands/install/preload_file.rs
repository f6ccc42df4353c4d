//! `/etc/ld.so.preload`: its name, its syntax, and the library's line in it.

/// The file name of the library.
pub const LIBRARY: &str = "libproclens.so";
/// The file that lists what glibc loads into every program.
pub const PRELOAD: &str = "/etc/ld.so.preload";
/// The values of `$LIB` by distribution: Debian's, Red Hat's, Arch's. The file contains `$LIB` itself, so
/// that a 32-bit program looks in its own directory.
pub const LIBS: [&str; 4] = [
    proclens::sys::arch::MULTIARCH_DIRECTORY,
    "lib64",
    "lib",
    "lib32",
];
/// The line in `/etc/ld.so.preload`.
pub const LINE: &str = "/usr/$LIB/libproclens.so";
/// The path where musl programs find it, because musl's linker does not know `$LIB`.
pub const MUSL: &str = "/usr/lib/libproclens.so";

/// The paths in the text of `/etc/ld.so.preload`, as glibc parses it: separated by white space and colons,
/// up to a `#`.
pub fn paths_in_preload(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split([' ', '\t', ':']))
        .filter(|path| !path.is_empty())
}

/// `path`, quoted for a shell.
pub fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// The text with the library's line once, at the end.
pub fn with_line(old: &str) -> String {
    let mut text = without_line(old);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + LINE + "\n"
}

/// The text without any path of the library. The rest of each line stays, including comments.
pub fn without_line(old: &str) -> String {
    let ours = |path: &&str| path.rsplit('/').next() == Some(LIBRARY);
    old.split_inclusive('\n')
        .filter_map(|line| {
            if !paths_in_preload(line).any(|path| ours(&path)) {
                return Some(line.to_owned());
            }
            let comment = line.find('#').map(|at| line[at..].trim_end());
            let others = paths_in_preload(line).filter(|path| !ours(path));
            let left: Vec<_> = others.chain(comment).collect();
            (!left.is_empty()).then(|| left.join(" ") + "\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_for_a_shell() {
        assert_eq!(quoted("/mnt/image-6.1"), "/mnt/image-6.1");
        assert_eq!(quoted("/mnt/r 6"), "'/mnt/r 6'");
        assert_eq!(quoted("/it's;$x"), r"'/it'\''s;$x'");
    }

    #[test]
    fn lines_of_the_preload_file() {
        assert_eq!(with_line(""), "/usr/$LIB/libproclens.so\n");
        assert_eq!(
            with_line("/lib/a.so"),
            "/lib/a.so\n/usr/$LIB/libproclens.so\n"
        );
        let both = "# x\n/lib/a.so /old/libproclens.so\n";
        assert_eq!(
            with_line(both),
            "# x\n/lib/a.so\n/usr/$LIB/libproclens.so\n"
        );
        assert_eq!(without_line(&with_line("/lib/a.so\n")), "/lib/a.so\n");
        assert_eq!(
            without_line(
                "/lib/a.so /usr/lib/libproclens.so # since May\n/usr/lib/libproclens.so\t#us"
            ),
            "/lib/a.so # since May\n#us\n"
        );
        assert_eq!(
            without_line("/lib/libproclens.so.bak\n"),
            "/lib/libproclens.so.bak\n"
        );
        let paths: Vec<_> = paths_in_preload("/a:/b # /c\n\t/d\n").collect();
        assert_eq!(paths, ["/a", "/b", "/d"]);
    }
}
