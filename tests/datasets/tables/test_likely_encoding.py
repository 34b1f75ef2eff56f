"""Real words, names and labels in the encodings that spreadsheets save: told rightly, or not at all."""

import random

import pytest

from mmprod.datasets.tables.likely_encoding import likely_encodings

TEXTS = {
    "gb18030": """
        王小明 李娜 张伟 刘洋 陈静 杨帆 赵敏 黄磊 周杰 吴倩 徐丽 孙浩 马超 朱镕基 胡雯 郭鑫 何琳 高婷
        林峰 罗昊 相似 相同 不同 不相似 同款 不是同款 是 否 对 不对 红色连衣裙 女士短袖T恤 男士休闲裤
        无线蓝牙耳机 陶瓷马克杯 不锈钢保温杯 儿童运动鞋 纯棉四件套 复古台灯 极简风客厅灯 真皮钱包
        防水双肩包 玻璃花瓶 电动牙刷 机械键盘 手机壳 (新款) ￥19.9 【包邮】
    """,
    "cp1252": """
        Müller Zoë Peña São João José García François Hélène Renée Søren Jørgensen Åsa Öberg Bjørn
        Conceição Simões Núñez Muñoz Ibáñez Göran Jürgen Günther Weiß Strauß Mónica Inés Björk Þór
        Guðrún Æsa Noël Chloë Daniël Citroën café crème brûlée décor déjà château garçon pâté jalapeño
        über Schlüsselanhänger Größe grün Lämpchen træ bøjle mørk blå möbel färg kött
    """,
    "cp1250": """
        Łukasz Wałęsa Świątek Kożuch Żółć Dvořák Novotný Šárka Čapek Žižka Jiří Růžička Kraljević
        Đurđica Čović Szűcs Gyűrű Nagy-Kőrösi Răzvan Ţepeş
    """,
    "cp1254": """
        Yıldız Şahin Gökçe Çağlar Işık Doğan Güneş Öztürk Ağaoğlu İpek
    """,
    "cp1251": """
        Анна Пётр Смирнова красное платье лампа настольная кружка Екатерина Сергей Москва чёрный
    """,
    "cp950": """
        王小明 陳怡君 林志豪 黃淑芬 張家豪 紅色連衣裙 無線藍牙耳機 陶瓷馬克杯 玻璃花瓶 電動牙刷
        不鏽鋼保溫杯 兒童運動鞋
    """,
    "cp932": """
        佐藤さくら 鈴木一郎 高橋みなみ ワイヤレスイヤホン 赤いワンピース 花びん マグカップ 同じ 違う
        子ども用スニーカー
    """,
    "cp949": """
        김민준 이서연 박지훈 빨간 원피스 무선 이어폰 머그컵 유리 꽃병 전동 칫솔 운동화 같음 다름 최유진
        정수빈 강하늘
    """,
}
WORDS = {encoding: text.split() for encoding, text in TEXTS.items()}
WORDS["mac_roman"] = [word for word in WORDS["cp1252"] if not set(word) & set("ÞþðÐ")]


@pytest.mark.parametrize("encoding", WORDS)
def test_no_sample_is_ever_taken_for_another_encoding(encoding):
    """Of one to forty words; what is told has to give back the very text."""
    told = 0
    for seed in range(400):
        rng = random.Random(seed)
        words = rng.choices(WORDS[encoding], k=rng.choice([1, 1, 2, 3, 5, 10, 40]))
        text = "\n".join(f"p{place:04},'00{place},{word},1,ann" for place, word in enumerate(words))
        data = text.encode(encoding)
        found = likely_encodings(data)
        if len(found) == 1 and not data.isascii():
            told += 1
            assert data.decode(found[0]) == text, seed
    assert told > 40, told


@pytest.mark.parametrize("encoding", WORDS)
def test_all_words_together_tell_their_encoding(encoding):
    text = "\n".join(WORDS[encoding])
    (found,) = likely_encodings(text.encode(encoding))
    assert text.encode(encoding).decode(found) == text


@pytest.mark.parametrize("name", ["Müller", "Zoë", "Peña", "João", "Muñoz", "Conceição", "François"])
def test_a_single_western_name_is_never_chinese(name):
    assert likely_encodings(f"p1,a,b,1,{name}\n".encode("cp1252")) == ["cp1252"]


@pytest.mark.parametrize("name", ["王小明", "小王", "朱镕基", "红色连衣裙 女士 短袖"])
def test_a_single_chinese_name_is_never_western(name):
    assert likely_encodings(f"p1,a,b,1,{name}\n".encode("gbk")) == ["gb18030"]


@pytest.mark.parametrize(
    ("word", "one", "other"),
    [
        ("NOÇÃO", "cp1252", "gb18030"),  # two capitals side by side are a common Chinese character
        ("T恤", "gb18030", "mac_roman"),
        ("Hélène", "cp1252", "cp1250"),  # Hélčne
        ("Perović", "cp1250", "cp1252"),  # Peroviæ
    ],
)
def test_what_reads_well_in_two_encodings_is_not_told(word, one, other):
    found = likely_encodings(f"p1,a,b,1,{word}\n".encode(one))
    assert {one, other} <= set(found)


def test_a_long_sample_may_end_within_a_character():
    data = "\n".join(WORDS["gb18030"] * 5).encode("gb18030")
    for end in range(900, 930):
        assert likely_encodings(data[:end]) == ["gb18030"], end


def test_the_same_text_in_two_code_pages_is_told_once():
    assert likely_encodings("Müller".encode("cp1250")) == ["cp1252"]


def test_ascii_and_noise_tell_nothing():
    assert likely_encodings(b"plain text\n") == []
    rng = random.Random(1)
    for _ in range(50):
        noise = bytes(rng.randrange(128, 256) for _ in range(400))
        assert len(likely_encodings(noise)) != 1
