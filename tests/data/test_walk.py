from attnprobe.data.benchmark import names_in


def test_links_are_followed_but_not_in_circles_and_hidden_files_are_passed_over(tmp_path):
    for name in ("a/1.jpg", "a/2.png", "a/._1.jpg", ".git/3.jpg", "elsewhere/b/4.jpg", "5.jpg"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "root/elsewhere").rename(tmp_path / "elsewhere")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/a/circle").symlink_to(tmp_path / "root")
    (tmp_path / "entrance").symlink_to(tmp_path / "root")
    for root in (tmp_path / "root", tmp_path / "entrance"):
        assert names_in(root, ".jpg") == ["5", "a/1", "link/b/4"]
    assert names_in(tmp_path / "root/a", ".png") == ["2"]
